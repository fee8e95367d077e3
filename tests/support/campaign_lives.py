"""The aggregators of a crash campaign: started, killed, and found by those who send to them."""

import asyncio
import random
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from support.backends import Database
from support.campaign_sessions import Sessions
from support.campaign_tally import Tally
from support.load import until
from support.processes import Aggregator

_TESTS = Path(__file__).parents[1]

_KILLED_ALONE = 0.3
"""The share of the kills that leave alive what the aggregator stores with."""


class Moment(StrEnum):
    """When an aggregator is killed."""

    LOADED = "under load"
    ANSWERED = "right after an answer"
    IDLE = "idle"
    DRAINING = "while draining"
    STARTING = "while starting"
    OPENING = "while opening the store"


@dataclass(eq=False)
class Life:
    """One aggregator from its start to its end."""

    number: int
    aggregator: Aggregator

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.aggregator.url


class Lives:
    """The aggregators on one database.

    Args:
        directory: for their logs.
        doctored: the protection that is taken away from them, by its name in `support.doctored`.
        sessions: how they are seen from the database.
        chance: decides how far a start gets before it is cut short.
        tally: told of every kill and restart.
    """

    def __init__(
        self,
        database: Database,
        directory: Path,
        doctored: str | None,
        sessions: Sessions,
        chance: random.Random,
        tally: Tally,
    ) -> None:
        self.serving: list[Life] = []
        """Those that publishers send to."""
        self._arguments = database.arguments()
        self._directory = directory
        self._program: tuple[str, ...] = ("-m", "aggregator")
        self._env: dict[str, str] = {}
        if doctored:
            self._program = ("-m", "support.doctored", doctored)
            self._env = {"PYTHONPATH": str(_TESTS)}
        self._sessions = sessions
        self._chance = chance
        self._tally = tally
        self._spawned = 0
        self._running: set[Life] = set()
        self._start_s = 0.5
        self._open = asyncio.Event()

    def open(self, lives: Iterable[Life] = ()) -> None:
        """Let publishers send, to these as well from now on."""
        self.serving += lives
        if self.serving:
            self._open.set()

    def shut(self) -> None:
        """Let no publisher send anything new until `open`."""
        self._open.clear()

    @property
    def is_open(self) -> bool:
        """Whether a publisher finds an aggregator now."""
        return self._open.is_set()

    async def find(self, chance: random.Random) -> Life:
        """One to send to; waits until there is one."""
        while not self.is_open:
            await self._open.wait()
        return chance.choice(self.serving)

    async def start(self, count: int) -> list[Life]:
        """Start so many together; they listen, but do not serve yet."""
        begun = time.monotonic()
        lives = [self._spawn() for _ in range(count)]
        await until(lambda: all(life.aggregator.listening() for life in lives))
        self._start_s = time.monotonic() - begun
        self._tally.restarts += count
        return lives

    async def start_and_kill(self, count: int, moment: Moment) -> list[Life]:
        """Start so many together and kill them on their way up."""
        lives = [self._spawn() for _ in range(count)]
        if moment is Moment.OPENING:
            await self._sessions.opened_by(lives[0].aggregator)
            await asyncio.sleep(self._chance.random() / 50)
        else:
            await asyncio.sleep(self._chance.random() * self._start_s)
        await self.kill(lives, moment)
        return lives

    async def kill(self, lives: Sequence[Life], moment: Moment) -> None:
        """End these at once, as `kill -9` does."""
        self.serving = [life for life in self.serving if life not in lives]
        if not self.serving:
            self.shut()
        for life in lives:
            self._kill(life)
        for life in lives:
            code = await asyncio.to_thread(life.aggregator.process.wait)
            self._running.discard(life)
            # One that was draining may have been quicker.
            if code == -signal.SIGKILL:
                self._tally.kills[moment] += 1
            else:
                assert (code, moment) == (0, Moment.DRAINING), life.aggregator.written()
            assert b"Traceback" not in life.aggregator.written(), life.aggregator.written()
            self._log(life.number).unlink()

    def _kill(self, life: Life) -> None:
        if self._chance.random() < _KILLED_ALONE:
            # What it stores with learns of it, and ends what it is at.
            life.aggregator.process.kill()
        else:
            life.aggregator.kill_at_once()

    def check_running(self) -> None:
        """Fail if one has ended that nobody killed."""
        for life in self._running:
            code = life.aggregator.process.poll()
            assert code is None, f"ended by itself with {code}: {life.aggregator.written()!r}"

    async def stop(self) -> None:
        """End all in order; fails if one does not exit with 0."""
        for life in self.serving:
            code = await asyncio.to_thread(life.aggregator.stop)
            assert code == 0, life.aggregator.written()

    def close(self) -> None:
        """End whatever runs, however the campaign ended."""
        for life in self._running:
            life.aggregator.kill()

    def _spawn(self) -> Life:
        self._spawned += 1
        aggregator = Aggregator.spawn(
            self._arguments,
            log=self._log(self._spawned),
            cwd=self._directory,
            env=self._env,
            program=self._program,
        )
        life = Life(self._spawned, aggregator)
        self._running.add(life)
        return life

    def _log(self, number: int) -> Path:
        return self._directory / f"aggregator-{number}.log"

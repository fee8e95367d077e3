"""The aggregator of a campaign of consumers: killed, and started again at the same port."""

import asyncio
import random
from pathlib import Path

from support.backends import Database
from support.command import run_to_end
from support.load import until
from support.processes import Aggregator

_KILLED_ALONE = 0.3
"""The share of the kills that leave alive what the aggregator stores with."""


class Lives:
    """The aggregator on a database, one life after the other.

    Args:
        database: its database.
        directory: for its log.
    """

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._directory = directory
        self._aggregator: Aggregator | None = None
        self.url = ""
        """The same in all lives."""

    @property
    def _now(self) -> Aggregator:
        assert self._aggregator is not None
        return self._aggregator

    def spawn(self) -> None:
        """Start it, at the port that it had if it was there before."""
        port = ["--port", self.url.rpartition(":")[2]] if self.url else []
        self._aggregator = Aggregator.spawn(
            [*self._database.arguments(), *port],
            log=self._directory / "aggregator.log",
            cwd=self._directory,
        )

    async def until_listening(self) -> None:
        """Return once it listens."""
        await until(self._now.listening)
        self.url = self._now.url

    async def kill_and_start(self, chance: random.Random, down_s: float) -> None:
        """Kill it, and start it again, at the earliest after that time."""
        if chance.random() < _KILLED_ALONE:
            # What it stores with learns of it, and ends what it is at.
            self._now.process.kill()
        else:
            self._now.kill_at_once()
        await asyncio.to_thread(self._now.process.wait)
        assert b"Traceback" not in self._now.written(), self._now.written()
        await asyncio.sleep(down_s)
        self.spawn()
        await self.until_listening()

    async def stop_and_verify(self) -> None:
        """End it in order, and have the database recounted."""
        code = await asyncio.to_thread(self._now.stop)
        assert code == 0, self._now.written()
        arguments = self._database.arguments()
        ended = await asyncio.to_thread(run_to_end, "verify", *arguments, cwd=self._directory)
        assert ended.code == 0, f"verify ends with {ended.code}: {ended.out}{ended.err}"

    def close(self) -> None:
        """End it, however the campaign has ended."""
        if self._aggregator is not None:
            self._aggregator.kill()

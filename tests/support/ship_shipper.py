"""The shipper on an event loop that a test turns: it stops wherever it could be killed."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self
from unittest import mock

import aiohttp

from publisher.events import EncodedEvent
from publisher.response import Outcome
from publisher.retry import RetryPolicy
from publisher.ship import sending
from publisher.ship import ship as shipping
from publisher.ship.files import catalog, content, known, search, state
from publisher.ship.files.checkpoint import Checkpoint
from publisher.ship.files.content import Content, Slice
from publisher.ship.files.watch import Changes
from publisher.ship.reading import Reading
from publisher.ship.records.lines import LinesFormat
from publisher.ship.records.source import SourceTemplate
from publisher.ship.target import Report, Target
from publisher.ship.totals import Totals
from support.ship_aggregator import StoredLines

HEAD_BYTES = 48
TAIL_BYTES = 16
HOLE_BYTES = 24
CHUNK_BYTES = 64
MAX_LINE_BYTES = 20
BATCH_EVENTS = 3
_MAX_STEPS = 20_000
_SIZES = (
    ((state, content, known, catalog), "HEAD_BYTES", HEAD_BYTES),
    ((state, content), "TAIL_BYTES", TAIL_BYTES),
    ((content,), "HOLE_BYTES", HOLE_BYTES),
    ((content, search), "CHUNK_BYTES", CHUNK_BYTES),
)

READS, DELIVERS, RESTS = "reads", "delivers", "rests"
"""Who pauses: the one that reads, the one that delivers, the one that waits for changes."""


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0


class TurnedLoop(asyncio.BaseEventLoop):
    """An event loop that goes on only when it is turned, until all of its tasks pause.

    Args:
        clock: its time.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock_of_test = clock
        self.paused: dict[str, asyncio.Future[None]] = {}
        self.is_dead = False
        """Whether its process was killed, so that nothing has an effect any more."""

    def time(self) -> float:
        """Return the time of the test."""
        return self._clock_of_test.now_s

    async def pause(self, who: str) -> None:
        """Wait until the test lets this one go on."""
        assert who not in self.paused
        self.paused[who] = self.create_future()
        try:
            await self.paused[who]
        finally:
            del self.paused[who]

    def go_on(self, who: str) -> bool:
        """Let one go on, and turn; gives whether it paused."""
        pausing = self.paused.get(who)
        if pausing is None:
            return False
        pausing.set_result(None)
        self.turn()
        return True

    def turn(self) -> None:
        """Run whatever can run."""
        asyncio.events._set_running_loop(self)
        try:
            while self._ready:  # type: ignore[attr-defined]
                handle = self._ready.popleft()  # type: ignore[attr-defined]
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio.events._set_running_loop(None)


class _Session:
    """A session and its connector that make no request."""

    def __init__(self, **_: object) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class Shipper:
    """A run of the shipper, with its real loop, sender, checkpoint and files.

    Args:
        names: paths and patterns.
        checkpoint: its path; None: there is none.
        host: is part of the ids.
        clock: its clock.
        stored: the aggregator.
        tell: told sentences.
        before_look: called at every look.
        after_read: called with the device and inode of a file of which something was read.
        follows: whether it goes on when all is read.
    """

    def __init__(
        self,
        names: Sequence[Path],
        checkpoint: Path | None,
        host: str,
        clock: Clock,
        stored: StoredLines,
        tell: Callable[[str], None],
        before_look: Callable[[], None],
        after_read: Callable[[tuple[int, int]], None],
        *,
        follows: bool,
    ) -> None:
        self._stored = stored
        self._before_look = before_look
        self._after_read = after_read
        self._loop = TurnedLoop(clock)
        self._open = ExitStack()
        self._changes = Changes(names_changed=False, files=set())
        self.wait_s = 0.0
        """How long it waits when nothing changes."""
        kept = None
        if checkpoint is not None:
            kept = self._open.enter_context(Checkpoint.opened(checkpoint, "target"))
            # It is killed, but the machine never is.
            kept._database.execute("PRAGMA synchronous = OFF")
        stored.add_host(host)
        for change in self._small_and_turned():
            self._open.enter_context(change)
        target = Target(
            url="",
            topic="logs",
            line_format=LinesFormat(max_line_bytes=MAX_LINE_BYTES),
            source=SourceTemplate.parse("{name}"),
            host=host,
            by_source=False,
            options="",
            batch_events=BATCH_EVENTS,
            policy=RetryPolicy(),
            dead_letters=None,
        )
        report = Report(
            totals=Totals(),
            tell_of_file=tell,
            tell_of_line=self._fail,
            expect_bytes=lambda *_: None,
            on_bytes=lambda *_: None,
            on_retry=lambda *_: None,
        )
        self._stop = asyncio.Event()
        if follows:
            assert kept is not None
            running: Coroutine[Any, Any, object] = shipping.follow(
                names, target, report, self._stop, checkpoint=kept
            )
        else:
            running = shipping.ship(names, target, report, checkpoint=kept)
        self._task = self._loop.create_task(running)
        self._loop.turn()

    @property
    def is_at_rest(self) -> bool:
        """Whether all that was read is acknowledged, and it waits for changes."""
        return RESTS in self._loop.paused and DELIVERS not in self._loop.paused

    @property
    def waits(self) -> bool:
        """Whether it waits for changes."""
        return RESTS in self._loop.paused

    def read_on(self, steps: int) -> None:
        """Go on reading, up to so many pauses, or until there is nothing to do."""
        for _ in range(steps):
            if not self._go_on(READS):
                return

    def deliver_on(self, steps: int) -> None:
        """Go on delivering, up to so many pauses, or until there is nothing to do."""
        for _ in range(steps):
            if not self._go_on(DELIVERS):
                return

    def wake(self, changes: Changes) -> None:
        """Let it go on with what a watch tells."""
        self._changes = changes
        self._go_on(RESTS)

    def work(self) -> None:
        """Go on until it waits for changes, or has ended, and all is acknowledged."""
        for _ in range(_MAX_STEPS):
            went_on = self._go_on(READS)
            if not self._go_on(DELIVERS) and not went_on:
                assert self.waits or self._task.done(), "it hangs"
                return
        raise AssertionError("it goes on for ever")

    def stop(self) -> None:
        """Stop as SIGTERM does: what was sent is acknowledged."""
        self._stop.set()
        self._loop.turn()
        for _ in range(_MAX_STEPS):
            if self._task.done():
                break
            self._go_on(DELIVERS)
        self._task.result()
        self.kill()

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self._loop.is_dead = True
        self._task.cancel()
        self._loop.turn()
        assert self._task.done()
        with suppress(asyncio.CancelledError):
            self._task.result()
        self._loop.close()
        self._open.close()

    def _go_on(self, who: str) -> bool:
        went_on = self._loop.go_on(who)
        if self._task.done() and not self._loop.is_dead:
            self._task.result()
        return went_on

    def _small_and_turned(self) -> "list[mock._patch[Any]]":
        """Return what makes sizes small, and puts the test in the place of the system."""
        shipper, loop = self, self._loop

        class PausingReading(Reading):
            """Reads with a pause before each call, in which files may change."""

            async def look(self, now: float) -> tuple[list[Path], list[str]]:
                await loop.pause(READS)
                shipper._before_look()
                return await super().look(max(now, loop.time()))

            async def read(self, content: Content, now: float) -> tuple[Slice | None, list[str]]:
                await loop.pause(READS)
                found = await super().read(content, max(now, loop.time()))
                if content.read_bytes and content in self.catalog.contents():
                    identity = content.file.identity
                    shipper._after_read((identity.device, identity.inode))
                return found

        class ToldWatch(_Session):
            """A watch that tells what the test does."""

            def update(self, _directories: Sequence[Path], _files: Sequence[Path]) -> None:
                pass

            async def wait(self, wait_s: float) -> Changes:
                shipper.wait_s = wait_s
                await loop.pause(RESTS)
                return shipper._changes

        async def to_thread(function: Callable[..., Any], *arguments: Any) -> Any:
            if loop.is_dead:
                raise asyncio.CancelledError
            return function(*arguments)

        return [
            mock.patch.object(shipping, "Reading", PausingReading),
            mock.patch.object(shipping, "Watch", ToldWatch),
            mock.patch.object(sending, "deliver", self._store),
            mock.patch.object(aiohttp, "ClientSession", _Session),
            mock.patch.object(aiohttp, "TCPConnector", _Session),
            mock.patch.object(asyncio, "to_thread", to_thread),
            *(
                mock.patch.object(module, name, value)
                for modules, name, value in _SIZES
                for module in modules
            ),
        ]

    async def _store(
        self, _session: object, _url: str, events: Sequence[EncodedEvent], **_: object
    ) -> tuple[list[Outcome], None]:
        outcomes: list[Outcome] = []
        pause = self._loop.pause
        await pause(DELIVERS)
        for number, event in enumerate(events):
            outcomes.append(self._stored.store(event))
            if number == 0:
                await pause(DELIVERS)
        await pause(DELIVERS)
        return outcomes, None

    @staticmethod
    def _fail(sentence: str) -> None:
        raise AssertionError(sentence)

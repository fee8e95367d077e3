"""The process that writes a SQLite file, as the one that started it has it.

Two sockets lead to it: one for batches, and one for what must not wait behind them. What it
writes to its standard error comes over a third.

It is given so much time, and no more. A stalled disk or a stopped process would keep whoever
asks waiting for good, so it is killed then: what it had has no known outcome. A killed process
that is inside the kernel stays there until the disk answers, and keeps its locks on the file as
long; nobody here waits for it. See `docs/understand/decisions/0022-sqlite-has-limited-time.md`.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from typing import Literal, NamedTuple

import msgspec

from storage import errors
from storage.errors import OutcomeUnknown, StorageError, StorageUnavailable
from storage.model import Event, Verdict
from storage.sqlite.framing import Channel
from storage.sqlite.process_output import ProcessOutput

WORKER = "storage.sqlite.writer_process"
NOT_RUNNING = "the process that stores is not running"
_UNFORESEEN = "the process that stores failed in a way that nobody foresaw; the log has the details"

_KILLED_S = 1.0
"""What a killed process needs to be gone, unless it hangs in the kernel."""

_START_S = 10.0
"""What an interpreter may take to start, beside what opening takes."""

_LATE_S = 1.0
"""A timer so late tells that this process did not run, so the other may not have run either."""

What = Literal["open", "ping", "append"]


class Command(msgspec.Struct, array_like=True):
    """What the process is to do; `number` is that of its answer."""

    number: int
    what: What
    batch: Sequence[Event] = ()


class Reply(msgspec.Struct, array_like=True):
    """What came of it: verdicts of an append, the class and the message of an error and, if
    nobody foresaw it, its traceback; what is wrong with the database itself, and the seconds that
    COMMIT took."""

    number: int
    verdicts: list[Verdict] = []
    error: tuple[str, str] | None = None
    traceback: str | None = None
    damage: str | None = None
    commit_s: float = 0.0


class _Channels(NamedTuple):
    asks: Channel
    appends: Channel


_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Reply).decode


class WriterProcess:
    """A process that writes a SQLite file, from its start to its end.

    Args:
        path: the database file.
        busy_timeout_ms: how long it waits for another process's write lock, in milliseconds.
        limit_s: how long it may take for what it is given, one after the other, in seconds.
        on_answer: told each of its answers.
        on_text: told what it writes to its standard error, and the tracebacks of errors that
            nobody foresaw.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_ms: int,
        limit_s: float,
        on_answer: Callable[[Reply], object],
        on_text: Callable[[str], object],
    ) -> None:
        self._path = path
        self._arguments = [str(path), str(busy_timeout_ms)]
        self._limit_s = limit_s
        self._on_answer = on_answer
        self._on_text = on_text
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[int] | None = None
        self._channels: _Channels | None = None
        self._output = ProcessOutput(on_text)
        self._asked = 0
        self._waiting: dict[int, tuple[asyncio.Future[Reply], type[StorageError]]] = {}
        """Who waits for which answer, oldest first, and what it means if there is none."""
        self._since = 0.0
        """When the oldest of them was the oldest, on the event loop's clock."""
        self._timer: asyncio.TimerHandle | None = None
        self._killed = ""
        """Why it was killed."""

    @property
    def takes_more(self) -> bool:
        """Whether it can be asked for anything."""
        return self._channels is not None

    @property
    def pid(self) -> int:
        """Its process id; 0 if it was never started."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Start it, once; raises `OSError` if that can't be done."""
        pairs: list[tuple[socket.socket, socket.socket]] = []
        connected = 0
        try:
            for _ in (*_Channels._fields, "stderr"):
                pairs.append(socket.socketpair())  # noqa: PERF401 - those made are closed on failure
            *numbers, stderr = [its.fileno() for _, its in pairs]
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                WORKER,
                *map(str, numbers),
                *self._arguments,
                pass_fds=numbers,
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=stderr,
                # It imports what this process would, wherever that was found.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                # A terminal's Ctrl-C is for this process, which ends the other in its turn.
                start_new_session=True,
            )
            self._ended = asyncio.create_task(self._process.wait(), name="writing-process")
            # Known before they are connected: the other end may be gone as soon as they are.
            self._channels = _Channels(
                *[Channel(self._answer, self._lose) for _ in _Channels._fields]
            )
            loop = asyncio.get_running_loop()
            protocols: tuple[asyncio.Protocol, ...] = (*self._channels, self._output)
            for protocol in protocols:
                await loop.create_connection(partial(_same, protocol), sock=pairs[connected][0])
                connected += 1
        finally:
            for number, (ours, its) in enumerate(pairs):
                its.close()
                if number >= connected:
                    ours.close()

    async def ask(self, what: What, batch: Sequence[Event] = ()) -> Reply:
        """Have it do something, and return what came of it.

        Raises:
            StorageError: what it raised; `OutcomeUnknown` for an append, and
                `StorageUnavailable` for anything else, if it ended or took too long.
        """
        if self._channels is None:
            raise StorageUnavailable(self._killed or NOT_RUNNING)
        self._asked += 1
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Reply] = loop.create_future()
        if not self._waiting:
            self._since = loop.time() + (_START_S if what == "open" else 0)
            # One that is set already comes in time, and mostly for nothing: see `_look`.
            if self._timer is None or self._timer.when() > self._since + self._limit_s:
                self._look_again()
        unknown = OutcomeUnknown if what == "append" else StorageUnavailable
        self._waiting[self._asked] = answered, unknown
        channel = self._channels.appends if what == "append" else self._channels.asks
        channel.send(_encode(Command(self._asked, what, batch)))
        return await answered

    def kill(self, reason: str) -> None:
        """Kill it; whoever waits for an answer is told the reason."""
        if self._channels is not None:
            for channel in self._channels:
                channel.abort()
        self._killed = reason
        self._leave_waiting(reason)
        self.abandon()

    def abandon(self) -> None:
        """Kill it and do nothing else; may be called from any thread."""
        if self._ended is not None and not self._ended.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def end(self, within_s: float) -> bool:
        """Let it finish what it was given; kill it if that takes longer. Whether it is gone.

        Args:
            within_s: how long it may take, in seconds. A process that hangs in the kernel even
                killed is there a second later still.
        """
        channels, self._channels = self._channels, None
        for channel in channels or ():
            channel.close()
        if self._ended is not None:
            # One that was killed finishes nothing more.
            await asyncio.wait([self._ended], timeout=0 if self._killed else within_s)
            if not self._ended.done():
                self.kill(
                    f"the process that stores was killed, for it did not end in {within_s:g} s"
                )
                await asyncio.wait([self._ended], timeout=_KILLED_S)
            if not self._ended.done():
                return False
            # Its last words are there, but may not have been read yet.
            with suppress(TimeoutError):
                async with asyncio.timeout(_KILLED_S):
                    await self._output.ended.wait()
        self._output.close()
        self._leave_waiting(NOT_RUNNING)
        return True

    def _answer(self, message: memoryview) -> None:
        answered = _decode(message)
        self._on_answer(answered)
        if answered.traceback is not None:
            self._on_text(answered.traceback)
        oldest = next(iter(self._waiting), None)
        if answered.number == oldest:
            # The next one's time begins: what came before it is done.
            self._since = asyncio.get_running_loop().time()
        waiting, unknown = self._waiting.pop(answered.number)
        if waiting.done():
            return
        if answered.error is None:
            waiting.set_result(answered)
        else:
            waiting.set_exception(_error(*answered.error, unknown))

    def _look(self) -> None:
        """Kill it if the oldest of what it has is overdue; look again when that may be so."""
        self._timer = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        late_s = loop.time() - (self._since + self._limit_s)
        if late_s > _LATE_S:
            self._since = loop.time()
        elif late_s >= 0:
            self.kill(
                f"the process that stores gave no answer for {self._limit_s:g} s and was killed: "
                f"see whether the disk of {str(self._path)!r} answers"
            )
            return
        self._look_again()

    def _look_again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self._since + self._limit_s
        self._timer = asyncio.get_running_loop().call_at(due, self._look)

    def _lose(self) -> None:
        """One of the channels is closed: without both there is nothing it could be asked."""
        for channel in self._channels or ():
            channel.close()
        self._leave_waiting("the process that stores ended while it had this")

    def _leave_waiting(self, reason: str) -> None:
        self._channels = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lost, self._waiting = self._waiting, {}
        for waiting, unknown in lost.values():
            if not waiting.done():
                waiting.set_exception(unknown(reason))


def _same(protocol: asyncio.Protocol) -> asyncio.Protocol:
    return protocol


def _error(name: str, message: str, unknown: type[StorageError]) -> StorageError:
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, StorageError):
        return kind(message)
    # Its own words may hold anything, and whoever waits may pass them on to a client.
    return unknown(_UNFORESEEN)

"""The client of the SQLite writer process: starts it, sends it requests and ends it.

Three sockets lead to it: one for batches, one for commands of subscriptions, and one for what must
not wait behind either. What it writes to its standard error comes over a third.

It has a limited time, and no more. A stalled disk or a stopped process would keep callers waiting
for good, so it is killed then: what it had has no known outcome. A killed process that is inside
the kernel stays there until the disk answers, and keeps its locks on the file as long; nobody here
waits for it. See `docs/understand/decisions/0022-sqlite-has-limited-time.md`.
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
from typing import NamedTuple

from storage.errors import OutcomeUnknown, StorageUnavailable
from storage.model import Appended, Event
from storage.sqlite.channel import Channel
from storage.sqlite.file_guard import FileIdentities
from storage.sqlite.pending_replies import PendingReplies
from storage.sqlite.process_output import ProcessOutput
from storage.sqlite.writer_protocol import (
    Answer,
    AppendOutcome,
    AppendReply,
    AppendRequest,
    CommandReply,
    CommandRequest,
    ErrandOutcome,
    Failure,
    ForgetReply,
    ForgetRequest,
    OpenReply,
    OpenRequest,
    PingRequest,
    decode_answer,
    decode_append_outcome,
    decode_errand_outcome,
    encode,
    storage_error,
)
from storage.subscriptions.commands import Command
from storage.subscriptions.outcomes import Outcome

MODULE = "storage.sqlite.writer_process"
NOT_RUNNING = "the SQLite writer process is not running"
_UNEXPECTED = "the SQLite writer process failed unexpectedly; the log has the details"

_KILLED_S = 1.0
"""What a killed process needs to be gone, unless it hangs in the kernel."""

_START_S = 10.0
"""What an interpreter may take to start, beside what opening takes."""


class _Channels(NamedTuple):
    questions: Channel
    appends: Channel
    errands: Channel


class WriterProcess:
    """A SQLite writer process, from its start to its end.

    Args:
        path: the database file.
        busy_timeout_ms: how long it waits for another process's write lock, in milliseconds.
        limit_s: how long it may take for each request, one after the other, in seconds.
        on_damage: callback with what it found wrong with the file.
        on_process_output: callback with each text that it writes to its standard error, and the
            tracebacks of unexpected errors.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_ms: int,
        limit_s: float,
        on_damage: Callable[[str], object],
        on_process_output: Callable[[str], object],
    ) -> None:
        self._path = path
        self._arguments = [str(path), str(busy_timeout_ms)]
        self._limit_s = limit_s
        self._on_damage = on_damage
        self._on_process_output = on_process_output
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[int] | None = None
        self._channels: _Channels | None = None
        self._output = ProcessOutput(on_process_output)
        self._pending = PendingReplies(limit_s, self._kill_overdue)
        self._killed = ""
        """Why it was killed."""

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent to it."""
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
                MODULE,
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
            self._ended = asyncio.create_task(self._process.wait(), name="sqlite-writer-process")
            # Known before they are connected: the other end may be gone as soon as they are.
            self._channels = _Channels(
                Channel(lambda message: self._receive(decode_answer(message)), self._lose),
                Channel(lambda message: self._receive(decode_append_outcome(message)), self._lose),
                Channel(lambda message: self._receive(decode_errand_outcome(message)), self._lose),
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

    async def open(self, writer_id: str, program: str, expected: FileIdentities) -> FileIdentities:
        """Have it open the file.

        Args:
            writer_id: the id of the store, for the table of writers.
            program: the version of this program, for the same.
            expected: the files that a reader has open; empty if none has.

        Returns:
            The files that it opened.

        Raises:
            StorageError: what it raised; `StorageUnavailable` if it ended or took too long.
        """
        channels = self._connected()
        number, reply = self._pending.add(StorageUnavailable, extra_s=_START_S)
        channels.questions.send(encode(OpenRequest(number, writer_id, program, expected)))
        opened: OpenReply = await reply
        return opened.files

    async def ping(self) -> None:
        """Have it check that an append could succeed; raises as `open` does."""
        channels = self._connected()
        number, reply = self._pending.add(StorageUnavailable)
        channels.questions.send(encode(PingRequest(number)))
        await reply

    async def append(self, batch: Sequence[Event]) -> Appended:
        """Have it store a batch; see `EventAppender.append`.

        Raises:
            StorageError: what it raised; `OutcomeUnknown` if it ended or took too long.
        """
        channels = self._connected()
        number, reply = self._pending.add(OutcomeUnknown)
        channels.appends.send(encode(AppendRequest(number, batch)))
        appended: AppendReply = await reply
        return Appended(appended.verdicts, appended.commit_s)

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """Have it do commands of subscriptions; see `SubscriptionStore.apply`.

        Raises:
            StorageError: what it raised; `OutcomeUnknown` if it ended or took too long.
        """
        channels = self._connected()
        number, reply = self._pending.add(OutcomeUnknown)
        channels.errands.send(encode(CommandRequest(number, commands)))
        done: CommandReply = await reply
        return done.outcomes

    async def forget_settles(self, limit: int) -> bool:
        """See `SubscriptionStore.forget_settles`; raises as `apply` does."""
        channels = self._connected()
        number, reply = self._pending.add(OutcomeUnknown)
        channels.errands.send(encode(ForgetRequest(number, limit)))
        forgotten: ForgetReply = await reply
        return forgotten.more

    def kill(self, reason: str) -> None:
        """Kill it; requests without a reply fail with the reason."""
        if self._channels is not None:
            for channel in self._channels:
                channel.abort()
        self._killed = reason
        self._disconnect(reason)
        self.abandon()

    def abandon(self) -> None:
        """Kill it and do nothing else; may be called from any thread."""
        if self._ended is not None and not self._ended.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def end(self, within_s: float) -> bool:
        """Let it finish what it was given; kill it if that takes longer.

        Args:
            within_s: how long it may take, in seconds.

        Returns:
            Whether it is gone. A process that hangs in the kernel even killed is not, a second
            later still.
        """
        channels, self._channels = self._channels, None
        for channel in channels or ():
            channel.close()
        if self._ended is not None:
            # One that was killed finishes nothing more.
            await asyncio.wait([self._ended], timeout=0 if self._killed else within_s)
            if not self._ended.done():
                self.kill(
                    f"the SQLite writer process was killed, for it did not end in {within_s:g} s"
                )
                await asyncio.wait([self._ended], timeout=_KILLED_S)
            if not self._ended.done():
                return False
            # Its last words are there, but may not have been read yet.
            with suppress(TimeoutError):
                async with asyncio.timeout(_KILLED_S):
                    await self._output.ended.wait()
        self._output.close()
        self._disconnect(NOT_RUNNING)
        return True

    def _connected(self) -> _Channels:
        if self._channels is None:
            raise StorageUnavailable(self._killed or NOT_RUNNING)
        return self._channels

    def _receive(self, reply: Answer | AppendOutcome | ErrandOutcome) -> None:
        if not isinstance(reply, Failure):
            self._pending.resolve(reply.number, reply)
            return
        if reply.damage is not None:
            self._on_damage(reply.damage)
        if reply.traceback is not None:
            self._on_process_output(reply.traceback)
        # The words of an unexpected error may hold anything, and a client may get them.
        self._pending.fail(reply.number, storage_error(reply), _UNEXPECTED)

    def _kill_overdue(self) -> None:
        self.kill(
            f"the SQLite writer process gave no answer for {self._limit_s:g} s and was killed: "
            f"see whether the disk of {str(self._path)!r} answers"
        )

    def _lose(self) -> None:
        """Close what is left: without all of the channels there is nothing it could be sent."""
        for channel in self._channels or ():
            channel.close()
        self._disconnect("the SQLite writer process ended before it answered")

    def _disconnect(self, reason: str) -> None:
        self._channels = None
        self._pending.fail_all(reason)


def _same(protocol: asyncio.Protocol) -> asyncio.Protocol:
    return protocol

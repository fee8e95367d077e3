"""The SQLite store that writes in a process of its own.

A Python process runs one thread at a time. A writing thread beside an event loop that parses and
answers gets its turn late, statement by statement, and each turn costs both of them; measured,
that was most of what storing single events took. So batches go to a process that does nothing
else, and reads stay here. See `docs/decisions/0015-sqlite-is-written-by-a-process.md`.

The process ends when this one does, however it does: its end of the connection is closed then.
If it is the first to end, what it was given has an unknown outcome, and the next `ping` starts
another.
"""

import asyncio
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL
from typing import Literal, NamedTuple

import msgspec

from storage import errors
from storage.channel import Channel
from storage.errors import OutcomeUnknown, StorageError, StorageUnavailable
from storage.model import Counts, Event, Page, Query, StoredEvent, Usage, Verdict
from storage.sqlite import SqliteStore

_WORKER = "storage.sqlite_worker"


class Asked(msgspec.Struct, array_like=True):
    """What the process is to do; `number` is that of its answer."""

    number: int
    what: Literal["open", "ping", "append"]
    batch: Sequence[Event] = ()


class Answered(msgspec.Struct, array_like=True):
    """What came of it: verdicts of an append, the class and the message of an error, what is
    wrong with the database itself, and the seconds that each COMMIT took meanwhile."""

    number: int
    verdicts: list[Verdict] = []
    error: tuple[str, str] | None = None
    damage: str | None = None
    commits: list[float] = []


class _Channels(NamedTuple):
    """To the process: one for batches, and one for what must not wait behind them."""

    asks: Channel
    appends: Channel


_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Answered).decode


class StoreApart:
    """An `EventStore` in one SQLite file whose `append` and `ping` are done by a process.

    Args:
        path: the database file; made if it is not there, its directory must be.
        busy_timeout_ms: how long to wait for another process's write lock, in milliseconds.
    """

    backend = SqliteStore.backend

    def __init__(self, path: Path, *, busy_timeout_ms: int) -> None:
        self.on_commit: Callable[[float], object] = lambda _seconds: None
        self.on_warning: Callable[[str], object] = lambda _sentence: None
        self._reader = SqliteStore(path, busy_timeout_s=busy_timeout_ms / 1000)
        self._arguments = [str(path), str(busy_timeout_ms)]
        self._process: asyncio.subprocess.Process | None = None
        self._channels: _Channels | None = None
        self._asked = 0
        self._waiting: dict[int, tuple[asyncio.Future[Answered], type[StorageError]]] = {}
        """Who waits for which answer, and what it means if there is none."""
        self._opened = False
        self._starting = asyncio.Lock()

    async def open(self) -> None:
        """See `EventStore.open`."""
        await self.aclose()
        try:
            await self._reader.open()
            await self._start()
        except BaseException:
            await self.aclose()
            raise
        self._opened = True

    async def append(self, batch: Sequence[Event]) -> list[Verdict]:
        """See `EventStore.append`."""
        self._check()
        return (await self._ask("append", batch)).verdicts

    async def ping(self) -> None:
        """See `EventStore.ping`; starts the process anew if it is gone."""
        async with self._starting:
            if self._opened and self._channels is None:
                await self._end()
                await self._start()
        self._check()
        await self._ask("ping")

    async def read(self, query: Query) -> Page:
        """See `EventStore.read`."""
        return await self._reader.read(query)

    async def get(self, topic: str, event_id: str) -> StoredEvent | None:
        """See `EventStore.get`."""
        return await self._reader.get(topic, event_id)

    async def stats(self) -> Mapping[str, Counts]:
        """See `EventStore.stats`."""
        return await self._reader.stats()

    async def usage(self) -> Usage:
        """See `EventStore.usage`."""
        return await self._reader.usage()

    async def aclose(self) -> None:
        """See `EventStore.aclose`."""
        self._opened = False
        # The last one on a database tidies up after all; that is for the one that wrote.
        await self._reader.aclose()
        await self._end()

    def _check(self) -> None:
        # Whoever came upon it: on a damaged index a sound batch might get a wrong verdict.
        if self._reader.damage is not None:
            raise StorageUnavailable(self._reader.damage)

    async def _start(self) -> None:
        try:
            await self._connect()
            await self._ask("open")
        except BaseException as error:
            await self._end()
            if isinstance(error, OSError):
                raise StorageUnavailable(f"can't start the process that stores: {error}") from error
            raise

    async def _connect(self) -> None:
        pairs = [socket.socketpair() for _ in _Channels._fields]
        unused = deque(ours for ours, _ in pairs)
        with ExitStack() as stack:
            for _, its in pairs:
                stack.callback(its.close)
            stack.callback(_close, unused)
            numbers = [its.fileno() for _, its in pairs]
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                _WORKER,
                *map(str, numbers),
                *self._arguments,
                pass_fds=numbers,
                stdin=DEVNULL,
                stdout=DEVNULL,
                # It imports what this process would, wherever that was found.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                # A terminal's Ctrl-C is for this process, which ends the other in its turn.
                start_new_session=True,
            )
            channels = _Channels(*[Channel(self._answer, lambda: self._lose(channels))
                                   for _ in pairs])  # fmt: skip
            # Known before they are connected: the other end may be gone as soon as they are.
            self._channels = channels
            for channel in channels:
                await _connect(channel, unused[0])
                unused.popleft()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if self._channels is not None:
            for channel in self._channels:
                channel.close()
        if process is not None:
            # Behind whatever is under way.
            await process.wait()

    async def _ask(
        self, what: Literal["open", "ping", "append"], batch: Sequence[Event] = ()
    ) -> Answered:
        if self._channels is None:
            raise StorageUnavailable("the process that stores is not running")
        self._asked += 1
        answered: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        unknown = OutcomeUnknown if what == "append" else StorageUnavailable
        self._waiting[self._asked] = answered, unknown
        channel = self._channels.appends if what == "append" else self._channels.asks
        channel.send(_encode(Asked(self._asked, what, batch)))
        return await answered

    def _answer(self, message: memoryview) -> None:
        answered = _decode(message)
        # Kept here, for the process that found it may be replaced.
        self._reader.damage = self._reader.damage or answered.damage
        for seconds in answered.commits:
            self.on_commit(seconds)
        waiting, unknown = self._waiting.pop(answered.number)
        if waiting.done():
            return
        if answered.error is None:
            waiting.set_result(answered)
        else:
            waiting.set_exception(_error(*answered.error, unknown))

    def _lose(self, channels: _Channels) -> None:
        if channels is not self._channels:
            # The other one of the two has told.
            return
        self._channels = None
        for channel in channels:
            channel.close()
        lost, self._waiting = self._waiting, {}
        for waiting, unknown in lost.values():
            if not waiting.done():
                waiting.set_exception(unknown("the process that stores ended while it had this"))


async def _connect(channel: Channel, connection: socket.socket) -> None:
    await asyncio.get_running_loop().create_connection(lambda: channel, sock=connection)


def _close(connections: Iterable[socket.socket]) -> None:
    for connection in connections:
        connection.close()


def _error(name: str, message: str, unknown: type[StorageError]) -> StorageError:
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, StorageError):
        return kind(message)
    return unknown(f"storing failed: {name}: {message}")

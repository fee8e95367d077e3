"""The process that writes a SQLite file for `storage.sqlite_apart.StoreApart`.

python -m storage.sqlite_worker SOCKET PATH BUSY_TIMEOUT_MS

It ends when the other end of its socket is closed, after what is under way, and at no signal but
SIGKILL: the process that started it decides.
"""

import asyncio
import gc
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from storage.channel import Channel
from storage.errors import StorageError
from storage.model import Verdict
from storage.sqlite import SqliteStore
from storage.sqlite_apart import Answered, Asked

_new_event_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
with suppress(ImportError):  # not made for this platform
    from uvloop import new_event_loop as _new_event_loop

_COLLECT_EVERY = 20_000

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Asked).decode


async def work(store: SqliteStore, connection: socket.socket) -> None:
    """Do what is asked over a connection, until its other end is closed; then close the store."""
    ended = asyncio.Event()
    commits: list[float] = []
    store.on_commit = commits.append
    under_way: set[asyncio.Task[None]] = set()

    def take(message: memoryview) -> None:
        task = asyncio.create_task(answer(_decode(message)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    async def answer(asked: Asked) -> None:
        try:
            answered = Answered(asked.number, await _do(store, asked))
        except Exception as error:  # noqa: BLE001 - the other end has to deal with it
            if not isinstance(error, StorageError):
                traceback.print_exception(error)
            answered = Answered(asked.number, error=(type(error).__name__, str(error)))
        answered.damage = store.damage
        answered.commits, commits[:] = commits[:], []
        channel.send(_encode(answered))

    channel = Channel(take, ended.set)
    await asyncio.get_running_loop().create_connection(lambda: channel, sock=connection)
    await ended.wait()
    if under_way:
        await asyncio.wait(under_way)
    await store.aclose()


async def _do(store: SqliteStore, asked: Asked) -> list[Verdict]:
    if asked.what == "append":
        return await store.append(asked.batch)
    if asked.what == "open":
        await store.open()
    else:
        await store.ping()
    return []


def main() -> None:
    """Run what the command line asks for."""
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)
    number, path, busy_timeout_ms = sys.argv[1:]
    # What reads is on the other end.
    store = SqliteStore(Path(path), busy_timeout_s=int(busy_timeout_ms) / 1000, readers=0)
    gc.set_threshold(_COLLECT_EVERY, 10, 10)
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        runner.run(work(store, socket.socket(fileno=int(number))))


if __name__ == "__main__":
    main()

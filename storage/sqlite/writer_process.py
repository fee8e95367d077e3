"""The process that writes a SQLite file for `storage.sqlite.store.StoreApart`.

python -m storage.sqlite.writer_process ASKS APPENDS PATH BUSY_TIMEOUT_MS

ASKS and APPENDS are the numbers of its ends of two sockets. It ends when their other ends are
closed, after what is under way, and at no signal but SIGKILL: the process that started it decides.
"""

import asyncio
import faulthandler
import gc
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from storage.errors import StorageError
from storage.sqlite.framing import Channel, receive, send
from storage.sqlite.writer import SqliteStore
from storage.sqlite.writer_client import Command, Reply

_new_event_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
with suppress(ImportError):  # not made for this platform
    from uvloop import new_event_loop as _new_event_loop

_COLLECT_EVERY = 20_000

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Command).decode


async def work(store: SqliteStore, asks: socket.socket, appends: socket.socket) -> None:
    """Do what is asked over two connections, until their other ends are closed; close the store.

    Args:
        asks: for what may not have to wait for a batch that is being stored.
        appends: for batches; the thread that stores one takes it from there and answers.
    """
    ended = asyncio.Event()
    under_way: set[asyncio.Task[None]] = set()

    def take(message: memoryview) -> None:
        task = asyncio.create_task(answer(_decode(message)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    async def answer(asked: Command) -> None:
        try:
            await (store.open() if asked.what == "open" else store.ping())
            answered = Reply(asked.number)
        except Exception as error:  # noqa: BLE001 - the other end has to deal with it
            answered = _failed(asked.number, error)
        answered.damage = store.damage
        channel.send(_encode(answered))

    channel = Channel(take, ended.set)
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: channel, sock=asks)
    appending = loop.run_in_executor(None, _append_all, store, appends)
    # Without it there is nothing left to be here for, whatever ended it.
    appending.add_done_callback(lambda _: ended.set())
    await ended.wait()
    await asyncio.wait([appending, *under_way])
    # Open, it would keep the process from its end.
    await store.aclose()
    await appending


def _append_all(store: SqliteStore, connection: socket.socket) -> None:
    # Whoever is gone needs no answer; what was stored is stored.
    with connection, connection.makefile("rb") as received, suppress(OSError):
        while message := receive(received):
            send(connection, _encode(_append(store, _decode(message))))


def _append(store: SqliteStore, asked: Command) -> Reply:
    try:
        verdicts, commit_s = store.append_here(asked.batch)
        answered = Reply(asked.number, verdicts, commit_s=commit_s)
    except Exception as error:  # noqa: BLE001 - the other end has to deal with it
        answered = _failed(asked.number, error)
    answered.damage = store.damage
    return answered


def _failed(number: int, error: Exception) -> Reply:
    foreseen = isinstance(error, StorageError)
    return Reply(
        number,
        error=(type(error).__name__, str(error)),
        traceback=None if foreseen else "".join(traceback.format_exception(error)),
    )


def main() -> None:
    """Run what the command line asks for."""
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)
    # What the process that started it reads there tells where it was when it crashed.
    faulthandler.enable()
    asks, appends, path, busy_timeout_ms = sys.argv[1:]
    # What reads is on the other end.
    store = SqliteStore(Path(path), busy_timeout_s=int(busy_timeout_ms) / 1000, readers=0)
    gc.set_threshold(_COLLECT_EVERY, 10, 10)
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        sockets = (socket.socket(fileno=int(number)) for number in (asks, appends))
        runner.run(work(store, *sockets))


if __name__ == "__main__":
    main()

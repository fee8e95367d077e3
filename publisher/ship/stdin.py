"""Standard input as it arrives."""

import asyncio
import os
import select
import threading
from collections.abc import AsyncIterator

_CHUNK_BYTES = 65_536
_CHUNKS_AHEAD = 4


async def chunks(file: int) -> AsyncIterator[bytes]:
    """Give the bytes of a descriptor of any kind, some at a time, until its end.

    Raises OSError when it cannot be read.
    """
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    room = threading.Semaphore(_CHUNKS_AHEAD)

    def read() -> None:
        chunk: bytes | OSError = b" "
        while chunk and isinstance(chunk, bytes):
            room.acquire()
            try:
                chunk = _read(file)
            except OSError as error:
                chunk = error
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, chunk)
            except RuntimeError:
                return  # the loop has ended, so nobody wants more

    # A daemon: nothing wakes a thread that waits for a terminal, and the exit must not wait for it.
    threading.Thread(target=read, name="stdin", daemon=True).start()
    while chunk := await arrived.get():
        room.release()
        if isinstance(chunk, OSError):
            raise chunk
        yield chunk


def _read(file: int) -> bytes:
    while True:
        try:
            return os.read(file, _CHUNK_BYTES)
        except BlockingIOError:
            # Whoever shares the descriptor may have set it so.
            select.select([file], [], [])

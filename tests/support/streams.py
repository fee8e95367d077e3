"""A TCP server for what no HTTP server would do; no connection outlives it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[int]:
    """Have `talk` deal with each connection, which is closed afterwards; gives the port.

    Whoever it talks with may hang up at any time. What goes on at the end is cancelled.
    """
    talks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await talk(reader, writer)
        finally:
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
            talks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[int, list[str]]]:
    """Give each connection the next answer; gives the port, and the heads of the requests.

    What is left of an answer when its connection is closed is cut off. Who comes when there is no
    answer left waits.
    """
    heads: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(heads)
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if number >= len(answers):
            await asyncio.Event().wait()
        writer.write(answers[number])

    async with listening(answer) as port:
        yield port, heads


def chunked(content_type: str, body: str, *, whole: bool) -> bytes:
    """An answer with status 200 of one chunk, with the last chunk behind it or without."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = body.encode()
    return b"%b%x\r\n%b\r\n%b" % (head.encode(), len(data), data, b"0\r\n\r\n" * whole)

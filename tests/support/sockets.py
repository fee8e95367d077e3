"""HTTP over a bare socket, for what no HTTP client would send."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from support.http import Client

_LIMIT_S = 30.0


class Answer(NamedTuple):
    """A response as it came over the wire."""

    status: int
    content_type: str
    body: bytes


@contextmanager
def reserved_port() -> Iterator[socket.socket]:
    """A socket bound to a free port of 127.0.0.1: as long as nobody listens there, it refuses.

    Nobody else is given the port meanwhile, for a server or for the near end of a connection. Who
    asks for it by number, with SO_REUSEADDR, may listen on it.
    """
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound


def port_of(bound: socket.socket) -> int:
    """The port that a socket is bound to."""
    port: int = bound.getsockname()[1]
    return port


async def connect(client: Client) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the server behind a test client."""
    return await asyncio.open_connection(client.host, client.port)


def post(body: bytes = b"", **headers: str) -> bytes:
    """A POST to /publish; `Content_Length="5"` announces another length than the body's."""
    named = {"Content-Length": str(len(body))} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return (
        f"POST /publish HTTP/1.1\r\nHost: test\r\n{head}\r\n".encode("utf-8", "surrogateescape")
        + body
    )


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """The next response on a connection."""
    async with asyncio.timeout(_LIMIT_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.strip().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (li.partition(":") for li in lines)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    content_type = headers.get("content-type", "").partition(";")[0]
    return Answer(int(status_line.split()[1]), content_type, body)


async def exchange(client: Client, request: bytes) -> Answer:
    """Send bytes on a connection of their own and read one response."""
    reader, writer = await connect(client)
    try:
        writer.write(request)
        return await read_answer(reader)
    finally:
        writer.close()


async def get(client: Client, target: str) -> Answer:
    """GET a target exactly as written; no client normalises it."""
    request = f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode("utf-8", "surrogateescape")
    return await exchange(client, request)

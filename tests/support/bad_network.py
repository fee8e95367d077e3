"""A TCP proxy that does to HTTP what bad networks do, by a schedule that a seed decides."""

import asyncio
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import NamedTuple
from urllib.parse import urlsplit

from support.streams import listening

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")
_DELAY_S = 0.02
_BURST = 3


class Mischief(Enum):
    """What may happen to a request."""

    PASSED = auto()
    CLOSED_BEFORE_REQUEST = auto()
    RESET_BEFORE_REQUEST = auto()
    CUT_IN_REQUEST = auto()
    CUT_BEFORE_ANSWER = auto()
    CUT_IN_ANSWER = auto()
    CLOSED_BETWEEN_REQUESTS = auto()
    DELAYED = auto()
    ARRIVED_LATE = auto()
    BURST_OF_503 = auto()
    PAGE_502 = auto()
    PAGE_504 = auto()
    SLOWED_DOWN_429 = auto()


_BEFORE = {Mischief.CLOSED_BEFORE_REQUEST, Mischief.RESET_BEFORE_REQUEST}


def _answer(status: bytes, content_type: bytes, body: bytes, *headers: bytes) -> bytes:
    lines = [
        b"HTTP/1.1 " + status,
        b"Content-Type: " + content_type,
        b"Content-Length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


_BUSY = _answer(
    b"503 Service Unavailable",
    b"application/problem+json",
    b'{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"busy"}',
    b"Retry-After: 0",
)
_ANSWERS = {
    Mischief.BURST_OF_503: _BUSY,
    Mischief.PAGE_502: _answer(b"502 Bad Gateway", b"text/html", b"<html>no upstream</html>"),
    Mischief.PAGE_504: _answer(b"504 Gateway Timeout", b"text/html", b"<html>too slow</html>"),
    Mischief.SLOWED_DOWN_429: _answer(b"429 Too Many Requests", b"text/plain", b"slow down"),
}


class _Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def message(self) -> bytes:
        """The next request or answer, whole."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return head + await self.reader.readexactly(int(length[1]) if length else 0)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def close(self, *, reset: bool = False) -> None:
        if reset:
            # To linger for no time is to end with RST instead of FIN.
            of_socket = self.writer.get_extra_info("socket")
            of_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


class BadNetwork:
    """Stands between publishers and an aggregator; `did` counts what it did to requests."""

    def __init__(self, target: str, seed: int) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._chance = random.Random(seed)
        self._deck: list[Mischief] = []
        self._burst = 0
        self.did: Counter[Mischief] = Counter()
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def before(cls, target: str, seed: int) -> AsyncIterator["BadNetwork"]:
        """A proxy before the server at `target`, listening at `url`."""
        network = cls(target, seed)
        async with listening(network._accept) as port:
            network.url = f"http://127.0.0.1:{port}"
            yield network

    def check_each_was_done(self) -> None:
        """Fail the test if some mischief was never done: it would have proved nothing."""
        assert all(self.did[mischief] for mischief in Mischief), self.did

    def _draw(self) -> Mischief:
        if self._burst:
            self._burst -= 1
            return Mischief.BURST_OF_503
        if not self._deck:
            # Each kind comes soon, whatever the seed.
            self._deck = [*Mischief, *[Mischief.PASSED] * 3]
            self._chance.shuffle(self._deck)
        drawn = self._deck.pop()
        if drawn is Mischief.BURST_OF_503:
            self._burst = _BURST - 1
        return drawn

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A publisher hangs up when it has its answers, or goes on without.
        await self._serve(_Connection(reader, writer))

    async def _serve(self, client: _Connection) -> None:
        mischief = self._draw()
        if mischief in _BEFORE:
            self.did[mischief] += 1
            await client.close(reset=mischief is Mischief.RESET_BEFORE_REQUEST)
            return
        server = _Connection(*await asyncio.open_connection(*self._target))
        try:
            while await self._exchange(client, server, mischief):
                mischief = self._draw()
        finally:
            await server.close()

    async def _exchange(self, client: _Connection, server: _Connection, mischief: Mischief) -> bool:
        """Take one request; whether the connection is good for another."""
        request = await client.message()
        self.did[mischief] += 1
        if mischief in _ANSWERS:
            await client.send(_ANSWERS[mischief])
            return True
        if mischief in _BEFORE:
            await client.close(reset=mischief is Mischief.RESET_BEFORE_REQUEST)
            return False
        if mischief is Mischief.CUT_IN_REQUEST:
            await server.send(request[: self._chance.randrange(1, len(request))])
            return False
        if mischief is Mischief.DELAYED:
            await asyncio.sleep(self._chance.random() * _DELAY_S)
        if mischief is Mischief.ARRIVED_LATE:
            # Its sender has given it up, and most likely sent it again.
            await client.reader.read()
            await asyncio.sleep(self._chance.random() * _DELAY_S)
        await server.send(request)
        answer = await server.message()
        if mischief is Mischief.CUT_BEFORE_ANSWER:
            return False
        if mischief is Mischief.CUT_IN_ANSWER:
            await client.send(answer[: self._chance.randrange(1, len(answer))])
            return False
        await client.send(answer)
        return mischief is not Mischief.CLOSED_BETWEEN_REQUESTS

"""A load generator with little overhead: it sends ready requests and hardly reads the answers."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from itertools import cycle, islice
from typing import NamedTuple, cast

_PAUSE_S = 0.05
"""Wait before a refused request is sent again."""


class Driven(NamedTuple):
    """The results of sending requests."""

    seconds: float
    latencies_s: list[float]
    """Latencies of the requests with status 200."""
    statuses: Counter[int]


def merged(many: Iterable[Driven]) -> Driven:
    """Merge results as if their requests had been sent in one run."""
    whole = Driven(0.0, [], Counter())
    for driven in many:
        whole.latencies_s.extend(driven.latencies_s)
        whole.statuses.update(driven.statuses)
        whole = whole._replace(seconds=whole.seconds + driven.seconds)
    return whole


def request(body: bytes, path: str = "/publish") -> bytes:
    """Build a POST of JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: benchmark\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(target: str, headers: str = "") -> bytes:
    """Build a GET; each of its further headers ends in CRLF."""
    return f"GET {target} HTTP/1.1\r\nHost: benchmark\r\n{headers}\r\n".encode()


def length_of(received: bytes | bytearray) -> int:
    """Return the length of an answer with its head in bytes, -1 until the head is complete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return -1
    # Not every server writes it in the same case.
    start = received[:end].lower().find(b"content-length: ") + 16
    return end + 4 + int(received[start : received.find(b"\r\n", start)])


class BrokenOff(Exception):
    """A connection ended unexpectedly."""


class Connection(asyncio.Protocol):
    """A connection with one request in flight at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._missing = -1
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Implement `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    async def exchange(self, sent: bytes) -> tuple[int, bytes]:
        """Send a request and return the status and the body of its answer."""
        if self._transport is None:
            raise BrokenOff
        self._received.clear()
        self._missing = -1
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(sent)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """Implement `asyncio.Protocol`."""
        self._received += data
        if self._missing < 0:
            self._missing = length_of(self._received)
            if self._missing < 0:
                return
        if len(self._received) >= self._missing and self._answer is not None:
            body = bytes(self._received[self._received.find(b"\r\n\r\n") + 4 :])
            answer, self._answer = self._answer, None
            answer.set_result((int(self._received[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Implement `asyncio.Protocol`."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or BrokenOff())

    def close(self) -> None:
        """Abort the connection."""
        if self._transport is not None:
            self._transport.abort()


async def connect(ports: Sequence[int], count: int) -> list[Connection]:
    """Open connections to servers on this machine, to each of the ports in turn."""
    loop = asyncio.get_running_loop()
    return [
        (await loop.create_connection(Connection, "127.0.0.1", port))[1]
        for port in islice(cycle(ports), count)
    ]


async def closed_loop(ports: Sequence[int], connections: int, requests: Sequence[bytes]) -> Driven:
    """Send requests in a closed loop: each connection sends the next one when it has its answer.

    Args:
        ports: the ports of the servers that share the connections.
        connections: the number of connections.
        requests: whole HTTP requests; one that is answered 503 is sent again.
    """
    waiting = deque(requests)
    driven = Driven(0.0, [], Counter())
    opened = await connect(ports, connections)

    async def send(connection: Connection) -> None:
        while waiting:
            sent = waiting.popleft()
            begun = time.perf_counter()
            while (status := (await connection.exchange(sent))[0]) == 503:
                driven.statuses[status] += 1
                await asyncio.sleep(_PAUSE_S)
            driven.statuses[status] += 1
            driven.latencies_s.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for connection in opened:
                group.create_task(send(connection))
        seconds = time.perf_counter() - begun
    finally:
        for connection in opened:
            connection.close()
    return driven._replace(seconds=seconds)

"""An open loop over bare connections: requests leave when they are due, answered or not.

It costs little of the machine that it shares with what it loads: bodies are made beforehand,
and of an answer only the status and the head are looked at.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, cast

_TICK_S = 0.002
_HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class Figures(NamedTuple):
    """What a stretch of load came to; latencies in seconds, in the order of the answers."""

    elapsed_s: float
    sent: int
    unsent: int
    """Due while every connection was waiting for an answer."""
    in_time: int
    """Requests answered 200 while the load lasted."""
    statuses: Counter[int]
    """Of all answers; 0 stands for a connection that ended without one."""
    accepted_s: list[float]
    refused_s: list[float]
    without_retry_after: int
    """Refusals that did not say when to come back."""

    @property
    def accepted_per_s(self) -> float:
        """Requests answered 200, a second."""
        return self.in_time / self.elapsed_s


class _Tally:
    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.accepted_s: list[float] = []
        self.refused_s: list[float] = []
        self.without_retry_after = 0

    def note(self, status: int, head: bytes, latency_s: float) -> None:
        self.statuses[status] += 1
        if status == 200:
            self.accepted_s.append(latency_s)
        else:
            self.refused_s.append(latency_s)
            if status == 503 and b"\r\nRetry-After: " not in head:
                self.without_retry_after += 1


class _Connection(asyncio.Protocol):
    def __init__(self, pool: "_Pool") -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._answer = b""
        self._sent_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._answer = b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or self._sent_at is None:
            return
        _, _, rest = head.partition(b"Content-Length: ")
        if len(body) < int(rest.partition(b"\r\n")[0]):
            return
        latency_s, self._sent_at = time.perf_counter() - self._sent_at, None
        self._pool.tally.note(int(head[9:12]), head, latency_s)
        self._pool.answered(self, closes=b"\r\nConnection: close" in head)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._pool.lost(self, waiting=self._sent_at is not None)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.abort()


class _Pool:
    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.tally = _Tally()
        self.idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()

    async def fill(self, connections: int) -> None:
        for _ in range(connections):
            await self._connect()
        async with asyncio.timeout(60):
            while self.waiting:  # noqa: ASYNC110 - what is waited for happens in a process
                await asyncio.sleep(_TICK_S)
        self.tally = _Tally()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self), self._host, self._port
        )
        self._open.add(connection)
        # Idle once it is answered: then the server has accepted it, and will read it.
        connection.send(_HEALTH)

    def answered(self, connection: _Connection, *, closes: bool) -> None:
        if not closes:
            self.idle.append(connection)

    def lost(self, connection: _Connection, *, waiting: bool) -> None:
        if connection not in self._open:
            return
        self._open.remove(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if waiting:
            self.tally.note(0, b"", 0.0)
        task = asyncio.create_task(self._connect())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    @property
    def waiting(self) -> int:
        return len(self._open) - len(self.idle)

    def close(self) -> None:
        connections, self._open = self._open, set()
        for connection in connections:
            connection.close()


async def open_loop(
    address: tuple[str, int],
    requests: Iterator[bytes],
    *,
    rate: float,
    connections: int,
    duration_s: float,
) -> Figures:
    """Send `rate` requests a second for `duration_s` seconds, and wait for what is under way.

    A request that is due while each of the `connections` waits for its answer is not sent. With
    an infinite rate that is a closed loop over all of them.
    """
    pool = _Pool(*address)
    await pool.fill(connections)
    started = time.perf_counter()
    sent = unsent = 0
    while (elapsed_s := time.perf_counter() - started) < duration_s:
        due = min(rate * elapsed_s - sent - unsent, 1e9)
        while due >= 1 and pool.idle:
            pool.idle.pop().send(next(requests))
            sent += 1
            due -= 1
        if rate != float("inf"):
            unsent += int(due)
        await asyncio.sleep(_TICK_S if rate != float("inf") else 0)
    taken_s = time.perf_counter() - started
    in_time = pool.tally.statuses[200]
    async with asyncio.timeout(60):
        while pool.waiting:  # noqa: ASYNC110 - what is waited for happens in a process
            await asyncio.sleep(_TICK_S)
    pool.close()
    return Figures(
        elapsed_s=taken_s,
        sent=sent,
        unsent=unsent,
        in_time=in_time,
        statuses=pool.tally.statuses,
        accepted_s=pool.tally.accepted_s,
        refused_s=pool.tally.refused_s,
        without_retry_after=pool.tally.without_retry_after,
    )

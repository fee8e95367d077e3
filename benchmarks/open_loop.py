"""An open loop: requests leave when they are due, whether or not the server keeps up.

A latency counts from when the request was due, so a stall counts for all that were due in it, not
only for those that happened to be under way. The delay of each request is reported too.

It is a loop of its own, not of asyncio: uvloop's timers, and those of epoll, are of whole
milliseconds, more than many an answer takes; and it costs the machine less.
"""

import gc
import random
import select
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.driving import length_of

_LIMIT_S = 60.0
"""The longest wait for an answer."""


class Offered(NamedTuple):
    """The results of an open loop; both lists are in the order in which the requests were due."""

    begun: float
    """The start of the schedule by `time.perf_counter`."""
    seconds: float
    latencies_s: list[float]
    """The time from when each request was due to its answer."""
    late_s: list[float]
    """The time from when each request was due to when it left."""
    statuses: Counter[int]


class Stalled(Exception):
    """A connection ended, or no answer came for a minute."""


def arrivals(rate: float, count: int, seed: int = 0) -> list[float]:
    """Draw the times at which requests are due, independent of each other (Poisson).

    Args:
        rate: mean number of requests a second.
        count: the number of requests.
        seed: the seed of the draw.

    Returns:
        Seconds from the start, ascending.
    """
    chance = random.Random(seed)
    due = 0.0
    return [due := due + chance.expovariate(rate) for _ in range(count)]


class _Connection:
    __slots__ = ("expected", "number", "received", "socket")

    def __init__(self, port: int, greeting: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = -1
        self.received = b""
        self.expected = -1
        if greeting:
            self.socket.sendall(greeting)
            while not self.receive():
                pass
            self.received, self.expected = b"", -1
        self.socket.settimeout(0)

    def receive(self) -> bool:
        """Read the bytes that are there; returns whether the answer is complete."""
        data = self.socket.recv(65_536)
        if not data:
            raise Stalled("the server ended a connection")
        self.received += data
        if self.expected < 0:
            self.expected = length_of(self.received)
        return 0 <= self.expected <= len(self.received)


def offer(
    port: int,
    requests: Sequence[bytes],
    due_s: Sequence[float],
    connections: int,
    greeting: bytes = b"",
) -> Offered:
    """Send each request when it is due, and wait for all answers; blocks.

    One that is due while all connections wait for answers leaves as soon as there is one; its
    latency counts from when it was due all the same.

    Args:
        port: the port of the server on this machine.
        requests: whole HTTP requests, small enough to be sent in one piece.
        due_s: seconds from the start, ascending, one for each request.
        connections: the number of connections.
        greeting: a request to be answered on each connection before the start, if there is one:
            so the cost of accepting them all at once is no part of any latency.

    Raises:
        Stalled: a connection ended, or no answer came for a minute.
    """
    opened = [_Connection(port, greeting) for _ in range(connections)]
    loop = _Loop(requests, due_s, opened)
    collecting = gc.isenabled()
    # A collection among all the requests that were made would stop everything for long.
    gc.disable()
    try:
        return loop.run()
    finally:
        loop.close()
        if collecting:
            gc.enable()


class _Loop:
    def __init__(
        self, requests: Sequence[bytes], due_s: Sequence[float], connections: list[_Connection]
    ) -> None:
        self._requests = requests
        self._due_s = due_s
        self._connections = connections
        self._idle = deque(connections)
        self._selector = selectors.DefaultSelector()
        for connection in connections:
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._sent = 0
        self._answered = 0
        self._begun = 0.0
        self._latencies_s = [0.0] * len(requests)
        self._late_s = [0.0] * len(requests)
        self._statuses: Counter[int] = Counter()

    def run(self) -> Offered:
        self._begun = time.perf_counter()
        while self._answered < len(self._requests):
            self._send_due()
            # Waiting on the selector's own descriptor is waiting in microseconds, for any number
            # of connections.
            readable, _, _ = select.select([self._selector], [], [], self._wait_s())
            if readable:
                for key, _ in self._selector.select(0):
                    self._read(key.data)
            elif not self._idle or self._sent == len(self._requests):
                raise Stalled(f"no answer for {_LIMIT_S:.0f} s")
        seconds = time.perf_counter() - self._begun
        return Offered(self._begun, seconds, self._latencies_s, self._late_s, self._statuses)

    def close(self) -> None:
        self._selector.close()
        for connection in self._connections:
            connection.socket.close()

    def _wait_s(self) -> float:
        if not self._idle or self._sent == len(self._requests):
            return _LIMIT_S
        return max(0.0, self._begun + self._due_s[self._sent] - time.perf_counter())

    def _send_due(self) -> None:
        while self._idle and self._sent < len(self._requests):
            late_s = time.perf_counter() - self._begun - self._due_s[self._sent]
            if late_s < 0:
                return
            connection = self._idle.popleft()
            request = self._requests[self._sent]
            if connection.socket.send(request) != len(request):
                raise ValueError("a request is too large to be sent in one piece")
            self._late_s[self._sent] = late_s
            connection.number = self._sent
            self._sent += 1

    def _read(self, connection: _Connection) -> None:
        if not connection.receive():
            return
        number, answer = connection.number, connection.received
        self._latencies_s[number] = time.perf_counter() - self._begun - self._due_s[number]
        self._statuses[int(answer[9:12])] += 1
        self._answered += 1
        connection.received, connection.expected = b"", -1
        self._idle.append(connection)

"""The gate at which consumers stop, at points of their plans, until the test lets them go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from support.consumer_campaign_fate import Visited
from support.consumer_campaign_plan import Point

LIMIT_S = 60.0


class Visit:
    """A consumer that has stopped at the gate.

    Args:
        visited: what it told.
        writer: of its connection.
    """

    def __init__(self, visited: Visited, writer: asyncio.StreamWriter) -> None:
        self.offsets = visited.offsets
        self.deliveries = visited.deliveries
        self.is_left = asyncio.Event()
        """Whether it is gone, let go on or not."""
        self._writer = writer

    def go_on(self) -> None:
        """Let it go on."""
        self._writer.write(b"\n")

    async def left(self) -> None:
        """Wait until it is gone."""
        async with asyncio.timeout(LIMIT_S):
            await self.is_left.wait()


class Gate:
    """The gate, in the test's process."""

    def __init__(self) -> None:
        self.port = 0
        self._visits: dict[tuple[int, Point], asyncio.Queue[Visit]] = {}

    async def visit(self, number: int, point: Point) -> Visit:
        """Return the next visit of a consumer to a point, when it is there."""
        async with asyncio.timeout(LIMIT_S):
            return await self._queue(number, point).get()

    def has_visit(self, number: int, point: Point) -> bool:
        """Whether a consumer has come to a point, and nobody has asked for the visit."""
        return not self._queue(number, point).empty()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a visit, and see when it ends."""
        try:
            visited = msgspec.json.decode(await reader.readline(), type=Visited)
            visit = Visit(visited, writer)
            self._queue(visited.number, visited.point).put_nowait(visit)
            await reader.read()
            visit.is_left.set()
        finally:
            writer.close()

    def _queue(self, number: int, point: Point) -> asyncio.Queue[Visit]:
        return self._visits.setdefault((number, point), asyncio.Queue())


@asynccontextmanager
async def open_gate() -> AsyncIterator[Gate]:
    """A gate that listens, for as long as the context lasts."""
    gate = Gate()
    server = await asyncio.start_server(gate.take, "127.0.0.1", 0)
    gate.port = server.sockets[0].getsockname()[1]
    try:
        yield gate
    finally:
        server.close()

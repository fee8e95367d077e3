"""A reader that follows topics and keeps its place, over one answer after the other."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp

from support.blocks import ACCEPT_BLOCKS, Block, Blocks

ACCEPT_LINES = {"Accept": "application/x-ndjson"}
CUT_OFF = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError)
"""What a client raises when an answer is cut off, and when nobody takes its connection."""
_PAUSE_S = 0.02


class FollowingReader:
    """Follows topics as a client does: it knows no more than it was sent.

    It takes whole blocks (or lines) alone, and goes on behind the last one.

    Args:
        wanted: names of topics and patterns.
        source: only events of it.
        lines: NDJSON that goes on, of one topic by its name.
        begin: the parameters that say where it begins.
    """

    def __init__(
        self,
        wanted: Sequence[str],
        *,
        source: str | None = None,
        lines: bool = False,
        begin: Mapping[str, object] | None = None,
    ) -> None:
        self.wanted = list(wanted)
        self.source = source
        self.lines = lines
        self.begin = dict(begin or {})
        self.events: dict[str, list[dict[str, Any]]] = {}
        """What it was given, by topic."""
        self.last_id: str | None = None
        """Of the last whole block."""
        self.answers = 0
        """Number of answers that have begun, in which something could be read."""
        self.unavailable = 0
        """Number of answers that were refused for the time being."""
        self.caught_up = False
        """Whether it was told so in the answer under way."""
        self.url = ""
        """Of the aggregator that the last answer was from."""
        self._response: aiohttp.ClientResponse | None = None
        self._blocks: Blocks | None = None

    @property
    def is_open(self) -> bool:
        """Whether an answer is under way."""
        return self._response is not None

    @property
    def count(self) -> int:
        """Number of events that it was given."""
        return sum(map(len, self.events.values()))

    def offsets(self, topic: str) -> list[int]:
        """The offsets that it was given of a topic, in the order in which they came."""
        return [event["offset"] for event in self.events.get(topic, [])]

    async def open(self, session: aiohttp.ClientSession, url: str) -> int:
        """Ask for an answer, behind the last block if there was one; returns the status."""
        query = [("topic", topic) for topic in self.wanted]
        query += [(name, str(value)) for name, value in self.parameters().items()]
        query += [("source", self.source)] if self.source else []
        query += [("follow", "true")] if self.lines else []
        headers = {**(ACCEPT_LINES if self.lines else ACCEPT_BLOCKS), **self.headers()}
        response = await session.get(
            f"{url}/events", params=query, headers=headers, timeout=aiohttp.ClientTimeout(None)
        )
        if response.status != 200:
            response.close()
            return response.status
        if self.lines:
            self._keep_beginning(int(response.headers["Log-Head"]))
        self._response = response
        self._blocks = Blocks(response)
        self.url = url
        self.caught_up = False
        self.answers += 1
        return 200

    def parameters(self) -> Mapping[str, object]:
        """The parameters that say where to begin, or where to go on."""
        if self.lines and self.events:
            return {"after": self.offsets(self.wanted[0])[-1]}
        return self.begin

    def headers(self) -> Mapping[str, str]:
        """The headers that say where to go on."""
        return {} if self.last_id is None else {"Last-Event-ID": self.last_id}

    def _keep_beginning(self, head: int) -> None:
        """Keep the place where lines begin, for they have no ids, and none may have come yet."""
        if self.begin == {"from": "now"}:
            self.begin = {"after": head}
        elif "last" in self.begin:
            self.begin = {"after": max(0, head - int(str(self.begin["last"])))}

    async def next(self) -> Block | None:
        """The next block, or line; None when the answer has ended as a whole one.

        Raises:
            aiohttp.ClientError: it was cut off.
        """
        block = await (self._next_line() if self.lines else self._next_block())
        if block is None:
            self.cut()
        elif block.event == "unavailable":
            self.unavailable += 1
        else:
            self.take(block)
        return block

    def take(self, block: Block) -> None:
        """Take a block in."""
        if block.id is not None:
            self.last_id = block.id
        if block.event == "caught-up":
            self.caught_up = True
        if block.event == "message":
            self.events.setdefault(block.data["topic"], []).append(block.data)

    def cut(self, more: int = 0) -> None:
        """Hang up, if need be with so many more bytes in hand, which may be half a block."""
        if self._response is not None:
            # What has not come yet is not waited for.
            with suppress(aiohttp.ClientError, ConnectionError):
                self._response.content.read_nowait(more)
            self._response.close()
            self._response = self._blocks = None

    async def follow(self, session: aiohttp.ClientSession, url: "Address") -> None:
        """Read, and come back whenever an answer ends, however it does; until it is cancelled.

        Args:
            session: with it.
            url: of the aggregator, which may be another one each time.
        """
        try:
            while True:
                try:
                    status = 200 if self.is_open else await self.open(session, url.now)
                    assert status in {200, 503}
                    while self.is_open and await self.next() is not None:
                        pass
                except CUT_OFF:
                    self.cut()
                await asyncio.sleep(_PAUSE_S)
        finally:
            self.cut()

    async def _next_block(self) -> Block | None:
        assert self._blocks is not None
        with suppress(StopAsyncIteration):
            return await self._blocks.next()
        return None

    async def _next_line(self) -> Block | None:
        assert self._response is not None
        # A blank line is a heartbeat.
        while (line := await self._response.content.readline()) == b"\n":
            pass
        if not line:
            return None
        assert line.endswith(b"\n"), "half a line at the end"
        return Block("message", None, json.loads(line), line.decode())


class Address:
    """Where an aggregator is found now; it may be started elsewhere.

    Args:
        url: of it.
    """

    def __init__(self, url: str) -> None:
        self.now = url


@asynccontextmanager
async def all_following(
    readers: Sequence[FollowingReader], session: aiohttp.ClientSession, address: Address
) -> AsyncIterator[None]:
    """Have readers follow for as long as the context lasts; one that fails ends the test."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(reader.follow(session, address)) for reader in readers]
        yield
        for task in tasks:
            task.cancel()

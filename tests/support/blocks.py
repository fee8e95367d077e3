"""Blocks of an event stream, as a client reads them from an open answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import ClientResponse

from support.http import Client

ACCEPT_BLOCKS = {"Accept": "text/event-stream"}
_LIMIT_S = 30.0


class Block(NamedTuple):
    """One block: its fields as they were sent; `text` is all of it."""

    event: str
    id: str | None
    data: Any
    """Parsed as JSON; the text itself of a position."""
    text: str

    @property
    def offset(self) -> int:
        """The offset of an event."""
        offset: int = self.data["offset"]
        return offset


class Blocks:
    """Reads blocks from an answer; heartbeats are counted on the way."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response
        self.heartbeats = 0
        self.last_id: str | None = None

    async def next(self) -> Block:
        """The next block; at the end of the answer StopAsyncIteration."""
        lines: list[str] = []
        async with asyncio.timeout(_LIMIT_S):
            while line := (await self.response.content.readline()).decode():
                if line == ":\n":
                    self.heartbeats += 1
                elif line != "\n":
                    lines.append(line)
                else:
                    return self._block(lines)
        assert not lines, "half a block at the end"
        raise StopAsyncIteration

    async def until(self, event: str) -> list[Block]:
        """The blocks up to the next one of a kind, that one included."""
        blocks = [await self.next()]
        while blocks[-1].event != event:
            blocks.append(await self.next())
        return blocks

    async def events(self, count: int) -> list[Block]:
        """The next so many events; blocks of other kinds between them are passed over."""
        found: list[Block] = []
        while len(found) < count:
            block = await self.next()
            if block.event == "message":
                found.append(block)
        return found

    async def rest(self) -> list[Block]:
        """All blocks up to the end of the answer."""
        blocks = []
        try:
            while True:
                blocks.append(await self.next())
        except StopAsyncIteration:
            return blocks

    def _block(self, lines: Sequence[str]) -> Block:
        fields = dict(line.rstrip("\n").split(": ", 1) for line in lines)
        assert len(fields) == len(lines), lines
        data = fields["data"]
        event = fields.get("event", "message")
        self.last_id = fields.get("id", self.last_id)
        parsed = data if event == "position" else json.loads(data)
        return Block(event, fields.get("id"), parsed, "".join(lines))


@asynccontextmanager
async def follow(
    client: Client,
    *topics: str,
    headers: Mapping[str, str] | None = None,
    **parameters: Any,
) -> AsyncIterator[Blocks]:
    """An event stream of topics; `from_="start"` is the parameter `from`."""
    query = [("topic", topic) for topic in topics]
    query += [(name.rstrip("_"), str(value)) for name, value in parameters.items()]
    async with client.get(
        "/events", params=query, headers={**ACCEPT_BLOCKS, **(headers or {})}
    ) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        yield Blocks(response)


async def unavailable(client: Client, *topics: str) -> str:
    """The reason that a stream which can't be served now is told, the whole answer checked."""
    async with follow(client, *topics) as stream:
        (block,) = await stream.rest()
        assert block.text.startswith("retry: 1000\nevent: unavailable\ndata: ")
        assert block.id is None
        reason: str = block.data["reason"]
        return reason

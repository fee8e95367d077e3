"""A server in an aggregator's place whose event streams are scripts, over real connections."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from support.streams import listening


class Request(NamedTuple):
    """What a stream was asked for."""

    query: list[tuple[str, str]]
    headers: dict[str, str]

    @property
    def last_event_id(self) -> str | None:
        """The position that it resumes from."""
        return self.headers.get("last-event-id")


class Answer:
    """The answer to one request, written by its script."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def begin(self, content_type: str = "text/event-stream", **headers: str) -> None:
        """Send the head of an answer with status 200."""
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.raw(
            "\r\n".join(
                [
                    "HTTP/1.1 200 OK",
                    f"Content-Type: {content_type}",
                    "Transfer-Encoding: chunked",
                    *lines,
                    "\r\n",
                ]
            ).encode()
        )

    async def raw(self, text: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(text)
        await self._writer.drain()

    async def send(self, *blocks: str) -> None:
        """Send blocks as one chunk."""
        text = "".join(blocks).encode()
        if text:  # a chunk of nothing would be the end
            await self.raw(b"%x\r\n%b\r\n" % (len(text), text))

    async def end(self) -> None:
        """Send the last chunk: the answer is complete."""
        await self.raw(b"0\r\n\r\n")


Script = Callable[[Answer], Awaitable[None]]


class ScriptedStreams:
    """Answers each request with the next script of a list, and keeps what it was asked for.

    A connection is closed when its script returns, so an answer without `end` is cut off.
    """

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.requests: list[Request] = []
        self.url = ""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        query = parse_qsl(urlsplit(first.split()[1]).query)
        lower = {name.lower(): value for name, value in headers.items()}
        self.requests.append(Request(query, lower))
        await self.scripts.pop(0)(Answer(writer))

    @classmethod
    @asynccontextmanager
    async def serving(cls, *scripts: Script) -> AsyncIterator["ScriptedStreams"]:
        """Such a server, listening."""
        server = cls(*scripts)
        async with listening(server._talk) as port:
            server.url = f"http://127.0.0.1:{port}"
            yield server


def event(offset: int, topic: str = "orders", **changes: object) -> str:
    """A block with an event; its id is its offset unless `id` says otherwise."""
    position = changes.pop("id", offset)
    fields = {
        "topic": topic,
        "event_id": f"{topic}-{offset}",
        "timestamp": "2026-01-31T12:00:00.000000Z",
        "source": "shop",
        "payload": {"number": offset},
        "offset": offset,
        "ts_ingest": "2026-01-31T12:00:01.500000Z",
    }
    return f"id: {position}\ndata: {json.dumps(fields | changes)}\n\n"


def block(name: str, data: object, position: object = None) -> str:
    """A named block, with an id if a position is given."""
    text = data if isinstance(data, str) else json.dumps(data)
    line = "" if position is None else f"id: {position}\n"
    return f"event: {name}\n{line}data: {text}\n\n"


def caught_up(position: object, **heads: int) -> str:
    """A block that tells of heads."""
    return block("caught-up", heads, position)


def gap(first: int, last: int, head: int, reason: str = "expired", topic: str = "orders") -> str:
    """A block that tells of a gap."""
    told = {"topic": topic, "from": first, "to": last, "reason": reason, "head": head}
    return block("gap", told, last if reason == "expired" else head)


def gives(*blocks: str, then: str = "ends") -> Script:
    """Send blocks, and then `end` the answer, be `cut` off, or be `silent`."""

    async def script(answer: Answer) -> None:
        await answer.begin()
        await answer.send(*blocks)
        if then == "ends":
            await answer.end()
        elif then == "is silent":
            await asyncio.get_running_loop().create_future()

    return script


def refuses(status: int, body: object = None, headers: Mapping[str, str] | None = None) -> Script:
    """Answer with a status and problem+json."""
    text = b"" if status == 204 else json.dumps(body or {"title": "no"}).encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())

    async def script(answer: Answer) -> None:
        await answer.raw(
            b"HTTP/1.1 %d Some Phrase\r\nContent-Type: application/problem+json\r\n%b"
            b"Content-Length: %d\r\n\r\n%b" % (status, lines.encode(), len(text), text)
        )

    return script


async def cuts_the_connection(_: Answer) -> None:
    """Close the connection instead of answering."""

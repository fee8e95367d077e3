"""A server in an aggregator's place that answers as a test tells it, over real connections."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from publisher.events import EncodedEvent

Answer = Callable[["Scripted", web.Request], Awaitable[web.StreamResponse]]


def encoded(event_id: str, payload: str = "{}", topic: str = "orders") -> EncodedEvent:
    """An event as it is sent, of the parts that `Scripted` looks at."""
    line = f'{{"topic":"{topic}","event_id":"{event_id}","payload":{payload}}}'
    return EncodedEvent(topic, event_id, line.encode())


class Scripted:
    """Gives the answers of its script one after another, and then those of an aggregator.

    It keeps what it was sent; what it answers for it stores, each key once.
    """

    def __init__(self, *script: Answer) -> None:
        self.script = list(script)
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.log: dict[str, int] = {}
        """What was stored, and where."""
        self.url = ""

    async def publish(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        answer = self.script.pop(0) if self.script else takes
        return await answer(self, request)

    @property
    def batches(self) -> list[list[str]]:
        """The event ids of each request."""
        lines = [body.split(b"\n") for body in self.bodies]
        return [[json.loads(line)["event_id"] for line in batch] for batch in lines]

    def store(self, body: bytes) -> dict[str, Any]:
        """Store a batch, and give what an aggregator answers to it; "bad" ids are rejected."""
        results: list[dict[str, Any]] = []
        for index, event in enumerate(map(json.loads, body.split(b"\n"))):
            topic, event_id = event["topic"], event["event_id"]
            if event_id.startswith("bad"):
                results.append({"index": index, "status": "rejected", "error": "it is bad"})
                continue
            new = event_id not in self.log
            offset = self.log.setdefault(event_id, len(self.log) + 1)
            status = "stored" if new else "duplicate"
            results.append(
                {"topic": topic, "event_id": event_id, "status": status, "offset": offset}
            )
        return counted(results)


def counted(results: list[dict[str, Any]]) -> dict[str, Any]:
    """An answer with these results and the counts that belong to them."""
    statuses = [result["status"] for result in results]
    dropped = statuses.count("duplicate") + statuses.count("conflict")
    return {
        "received": statuses.count("stored") + dropped,
        "unique_processed": statuses.count("stored"),
        "duplicate_dropped": dropped,
        "conflicts": statuses.count("conflict"),
        "rejected": statuses.count("rejected"),
        "results": results,
    }


@asynccontextmanager
async def serving(*script: Answer) -> AsyncIterator[Scripted]:
    """A scripted server, listening."""
    scripted = Scripted(*script)
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/prefix/publish", scripted.publish)
    async with TestServer(app) as server:
        scripted.url = str(server.make_url("/prefix"))
        yield scripted


async def takes(server: Scripted, request: web.Request) -> web.StreamResponse:
    """Store the batch and answer, as an aggregator does."""
    return web.json_response(server.store(await request.read()))


def answers(
    status: int,
    body: object = None,
    *,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> Answer:
    """Answer with a status and a body, bytes and text as they are, anything else as JSON."""
    text = body if isinstance(body, (bytes, str)) else json.dumps(body)

    async def answer(server: Scripted, request: web.Request) -> web.StreamResponse:
        return web.Response(
            status=status,
            body=text.encode() if isinstance(text, str) else text,
            content_type=content_type,
            headers=headers or {},
        )

    return answer


def busy(retry_after: str | None = None) -> Answer:
    """Answer 503, as an aggregator does."""
    return answers(
        503,
        {"title": "Service Unavailable", "status": 503, "detail": "the queue is full"},
        content_type="application/problem+json",
        headers={} if retry_after is None else {"Retry-After": retry_after},
    )


async def cuts_the_connection(server: Scripted, request: web.Request) -> web.StreamResponse:
    """End the connection instead of answering; nothing is stored."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def stores_and_cuts(server: Scripted, request: web.Request) -> web.StreamResponse:
    """Store the batch, and end the connection instead of answering."""
    server.store(await request.read())
    return await cuts_the_connection(server, request)


async def cuts_the_answer(server: Scripted, request: web.Request) -> web.StreamResponse:
    """Store the batch, and end the connection in the middle of the answer."""
    body = json.dumps(server.store(await request.read())).encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.close()
    return response


class Gate:
    """An answer that waits until it is opened, and then is that of an aggregator."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    def open(self) -> None:
        """Let it answer."""
        self.opened.set()

    async def __call__(self, server: Scripted, request: web.Request) -> web.StreamResponse:
        """Answer, as `Answer` does."""
        self.reached.set()
        await self.opened.wait()
        return await takes(server, request)

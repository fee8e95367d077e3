"""A proxy in front of an aggregator that can do what an aggregator can't be made to do."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

Forward = Callable[[], Awaitable[web.Response]]
"""Sends the request on and gives the aggregator's answer back."""

InTheWay = Callable[[web.Request, bytes, Forward], Awaitable[web.Response]]
"""Gets a request, its body, and how to forward it; gives the answer."""

_KEPT = ("Content-Type", "Prefer", "Link", "Retry-After")


@asynccontextmanager
async def proxy(target: str, in_the_way: InTheWay) -> AsyncIterator[str]:
    """A proxy in front of the aggregator at `target`, for as long as the context lasts."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()

        async def forward() -> web.Response:
            headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
            async with session.request(
                request.method, target + request.raw_path, data=BytesIO(body), headers=headers
            ) as answered:
                kept = {name: answered.headers[name] for name in _KEPT if name in answered.headers}
                return web.Response(
                    body=await answered.read(), status=answered.status, headers=kept
                )

        return await in_the_way(request, body, forward)

    app = web.Application(client_max_size=2**25)
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await server.start_server()
        try:
            yield str(server.make_url("")).rstrip("/")
        finally:
            await server.close()


def hang_up(request: web.Request) -> web.Response:
    """End the connection of a request without an answer."""
    assert request.transport is not None
    request.transport.close()
    return web.Response()

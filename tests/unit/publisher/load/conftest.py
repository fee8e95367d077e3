"""Fixtures of the tests of the load generator."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.proxy import Forward, InTheWay, proxy
from unit.publisher.load.model import MakeScene, Scene
from unit.publisher.load.sending import Serve, nothing

from aggregator.app import create_app
from aggregator.settings.model import Settings
from publisher.load.plan import Shape


@pytest.fixture
def make_scene() -> MakeScene:
    """Make scenes, by default of 400 events in 20 requests."""

    def make(
        *,
        heads: Sequence[int] = (7, 0, 3),
        events: int = 400,
        duplicates: int = 120,
        conflicts: int = 40,
        batch: int = 20,
        topics: int = 3,
        concurrency: int = 2,
    ) -> Scene:
        return Scene(Shape(events, duplicates, conflicts, batch, topics, concurrency, 1), heads)

    return make


@pytest.fixture
async def serve(tmp_path: Path, processes: None) -> AsyncIterator[Serve]:
    """Serves the application behind something in the way of publishes: gives its URL."""
    async with AsyncExitStack() as stack:

        async def start(in_the_way: InTheWay = nothing, **settings: int) -> str:
            configured = {"backend": "sqlite", "database": tmp_path / "events.db"} | settings
            server = TestServer(create_app(Settings.from_values(configured)))
            await server.start_server(auto_decompress=False)
            stack.push_async_callback(server.close)

            async def publishes(
                request: web.Request, body: bytes, forward: Forward
            ) -> web.Response:
                if request.path == "/publish":
                    return await in_the_way(request, body, forward)
                return await forward()

            url = str(server.make_url("")).rstrip("/")
            return await stack.enter_async_context(proxy(url, publishes))

        yield start

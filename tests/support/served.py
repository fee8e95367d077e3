"""The application behind connections of its own, as `aggregator.server.run` has it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from aiohttp.test_utils import TestServer

from aggregator.app import DRAIN, FAST_PATH, PENDING_RESPONSES, create_app
from aggregator.http.connection import Connection
from aggregator.http.connection_limit import LimitedConnections
from aggregator.settings.model import Settings
from storage.protocols import EventStore

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class _Runner(web.AppRunner):
    def __init__(
        self, app: web.Application, made: list[Connection], *, fast_path: bool, **options: Any
    ) -> None:
        super().__init__(app, **options)
        self._made = made
        self._fast_path = fast_path
        self._connections: LimitedConnections | None = None
        self._of_connections = {
            name: options[name]
            for name in ("auto_decompress", "keepalive_timeout")
            if name in options
        }

    @property
    def usual(self) -> web.Server:
        """What serves the requests that go the usual way."""
        server = super().server
        assert server is not None
        return server

    @property
    def server(self) -> Any:
        """What makes a protocol for each connection."""
        connections = self._connections = self._connections or LimitedConnections(
            self.usual,
            max_open=1000,
            pending=self.app[PENDING_RESPONSES],
            fast_path=self.app[FAST_PATH] if self._fast_path else None,
            **self._of_connections,
        )

        def make() -> Connection:
            self._made.append(connections())
            return self._made[-1]

        return make


class Served(TestServer):
    """A server for aiohttp's test client.

    Args:
        fast_path: whether publishes may go the short way.
    """

    __test__ = False

    def __init__(self, app: web.Application, *, fast_path: bool = True) -> None:
        super().__init__(app)
        self._fast_path = fast_path
        self.connections: list[Connection] = []
        """In the order in which they were made."""

    @property
    def requests(self) -> int:
        """How many went the usual way, not the short one."""
        assert isinstance(self.runner, _Runner)
        return self.runner.usual.requests_count

    async def _make_runner(self, **options: Any) -> web.AppRunner:
        # Unlike a test server's, a handler goes on when its client has gone.
        options["handler_cancellation"] = False
        return _Runner(self.app, self.connections, fast_path=self._fast_path, **options)


@dataclass
class Talk:
    """A connection over which bytes go as they are."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self, request: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer, to a request if one is given."""
        if request:
            self.writer.write(request)
        async with asyncio.timeout(30):
            head = await self.reader.readuntil(b"\r\n\r\n")
            response = HTTPResponse(cast("Any", _Bytes(head)))
            response.begin()
            body = await self.reader.readexactly(int(response.headers["Content-Length"]))
        return response.status, {k.lower(): v for k, v in response.headers.items()}, body

    async def ended(self) -> bool:
        """Whether nothing more comes."""
        async with asyncio.timeout(30):
            return await self.reader.read() == b""


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> BytesIO:
        return BytesIO(self._data)


@asynccontextmanager
async def serving(
    tmp_path: Path,
    store: EventStore | None = None,
    keepalive_timeout: float = 75.0,
    **changes: Any,
) -> AsyncIterator[Served]:
    """The application on SQLite, as `aggregator.server.run` has it behind a socket."""
    settings = Settings.from_values({"database": tmp_path / "log.db"} | changes)
    served = Served(create_app(settings, store), fast_path=settings.fast_path == "auto")
    await served.start_server(auto_decompress=False, keepalive_timeout=keepalive_timeout)
    try:
        yield served
    finally:
        await served.close()


async def refuse(served: Served) -> None:
    """Refuse publishes from now on."""
    await served.app[DRAIN]()


@asynccontextmanager
async def talking(served: Served) -> AsyncIterator[Talk]:
    """A connection to it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield Talk(reader, writer)
    finally:
        writer.close()


@contextmanager
def serving_in_a_thread(
    tmp_path: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None, **changes: Any
) -> Iterator[Served]:
    """The application in a thread, with an event loop of a kind that the test names."""
    listening: Future[Served] = Future()
    over = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with serving(tmp_path, **changes) as served:
            listening.set_result(served)
            await over.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            try:
                runner.run(serve())
            except BaseException as error:
                if listening.done():
                    raise
                listening.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listening.result(30)
    finally:
        for loop in loops:
            loop.call_soon_threadsafe(over.set)
        thread.join(30)

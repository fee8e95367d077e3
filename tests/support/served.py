"""The application behind connections of its own, as `aggregator.serve` has it."""

from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from aggregator.app import ANSWERS, EXPRESS
from aggregator.connections import Connection, Connections


class _Runner(web.AppRunner):
    def __init__(self, app: web.Application, made: list[Connection], **options: Any) -> None:
        super().__init__(app, **options)
        self._made = made
        self._of_connections = {
            name: options[name] for name in ("auto_decompress", "keepalive_timeout")
            if name in options
        }  # fmt: skip

    @property
    def server(self) -> Any:
        """What makes a protocol for each connection."""
        server = super().server
        assert server is not None
        connections = Connections(
            server,
            most=1000,
            express=self.app[EXPRESS],
            answers=self.app[ANSWERS],
            **self._of_connections,
        )

        def make() -> Connection:
            self._made.append(connections())
            return self._made[-1]

        return make


class Served(TestServer):
    """A server for aiohttp's test client."""

    __test__ = False

    def __init__(self, app: web.Application) -> None:
        super().__init__(app)
        self.connections: list[Connection] = []
        """In the order in which they were made."""

    @property
    def requests(self) -> int:
        """How many went the usual way, not the short one."""
        assert isinstance(self.runner, web.AppRunner)
        server = web.AppRunner.server.fget(self.runner)  # type: ignore[attr-defined]
        assert isinstance(server, web.Server)
        return server.requests_count

    async def _make_runner(self, **options: Any) -> web.AppRunner:
        return _Runner(self.app, self.connections, **options)

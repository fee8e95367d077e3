"""A client certificate names its client for as long as it is valid, also on an open connection."""

import time

from aiohttp import web

from aggregator.http.connection import Connection, CountedConnection


class Nobody:
    """Counts nothing."""

    def opened(self, connection: CountedConnection) -> None:
        """See `ConnectionObserver`."""

    def used(self, connection: CountedConnection) -> None:
        """See `ConnectionObserver`."""

    def closed(self, connection: CountedConnection) -> None:
        """See `ConnectionObserver`."""


async def nothing(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response()


async def test_a_certificate_that_has_run_out_names_nobody() -> None:
    connection = Connection(Nobody(), web.Server(nothing))
    connection._certificate_names = ("CN:shop",)
    connection._certificate_not_after = time.time() + 3600
    assert connection.certificate_names == ("CN:shop",)
    connection._certificate_not_after = time.time() - 1
    assert not list(connection.certificate_names)

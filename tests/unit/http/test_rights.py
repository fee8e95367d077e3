"""Every route says what right it needs, or can't be added."""

import pytest
from aiohttp import web

from aggregator.app import create_app
from aggregator.http.rights import NEEDS, check_needs
from aggregator.settings.model import Settings


async def nothing(_request: web.Request) -> web.Response:
    return web.Response()


def test_a_route_without_a_right_can_not_be_added() -> None:
    app = web.Application()
    app.add_routes([web.get("/health", nothing)])
    check_needs(app.router.routes())
    app.add_routes([web.post("/health", nothing)])
    with pytest.raises(RuntimeError, match="nothing says what right POST /health needs"):
        check_needs(app.router.routes())


def test_every_right_is_that_of_a_route() -> None:
    app = create_app(Settings.from_values({}))
    routes = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    assert routes == set(NEEDS)

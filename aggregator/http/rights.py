"""The rights of requests: what each route needs, who each comes from, and from which page."""

from collections.abc import Iterable
from functools import partial

from aiohttp import hdrs, web

from aggregator.access.authority import Identity
from aggregator.access.checks import check_subscription
from aggregator.access.entries import Entry
from aggregator.access.gate import Gate
from aggregator.access.needs import Need
from aggregator.http.browser_guard import Arrival, BrowserGuard
from aggregator.http.connection import Connection

IDENTITY = web.RequestKey("identity", Identity)
"""Who a request comes from."""

GATE: web.AppKey[Gate] = web.AppKey("gate", Gate)
BROWSER_GUARD: web.AppKey[BrowserGuard] = web.AppKey("browser_guard", BrowserGuard)

_SUBSCRIPTION = "/subscriptions/{name}"

NEEDS: dict[tuple[str, str], Need] = {
    ("POST", "/publish"): Need.PUBLISH,
    ("GET", "/events"): Need.READ,
    ("GET", "/events/{topic}/{event_id}"): Need.READ,
    ("GET", "/stats"): Need.COUNTS,
    ("GET", "/health"): Need.NOTHING,
    ("GET", "/ready"): Need.NOTHING,
    ("GET", "/metrics"): Need.METRICS,
    ("GET", "/subscriptions"): Need.SUBSCRIBE,
    ("GET", _SUBSCRIPTION): Need.SUBSCRIBE,
    ("PUT", _SUBSCRIPTION): Need.SUBSCRIBE,
    ("PATCH", _SUBSCRIPTION): Need.SUBSCRIBE,
    ("DELETE", _SUBSCRIPTION): Need.SUBSCRIBE,
    ("POST", f"{_SUBSCRIPTION}/lease"): Need.SUBSCRIBE,
    ("POST", f"{_SUBSCRIPTION}/settle"): Need.SUBSCRIBE,
    ("POST", f"{_SUBSCRIPTION}/seek"): Need.SUBSCRIBE,
    ("POST", f"{_SUBSCRIPTION}/pause"): Need.SUBSCRIBE,
    ("POST", f"{_SUBSCRIPTION}/resume"): Need.SUBSCRIBE,
    ("GET", f"{_SUBSCRIPTION}/dead"): Need.SUBSCRIBE,
    ("POST", f"{_SUBSCRIPTION}/dead/retry"): Need.SUBSCRIBE,
    ("DELETE", f"{_SUBSCRIPTION}/dead/{{topic}}/{{offset}}"): Need.SUBSCRIBE,
}
"""What each route needs, by its method and path. A route that is not here can't be added."""


def check_needs(routes: Iterable[web.AbstractRoute]) -> None:
    """Return if it is said of each route what it needs.

    Raises:
        RuntimeError: it is not said of one.
    """
    for route in routes:
        path = "" if route.resource is None else route.resource.canonical
        if (_method(route.method), path) not in NEEDS:
            raise RuntimeError(f"nothing says what right {route.method} {path} needs")


def let_in(request: web.Request) -> Identity:
    """Return who a request comes from, by its head alone.

    Raises:
        Unauthorized: see `Gate.identify`.
        Forbidden: see `BrowserGuard.check` and `Gate.check`; it names a subscription that it may
            not use.
    """
    connection = request.protocol
    certificate = connection.certificate_names if isinstance(connection, Connection) else ()
    authorization = request.headers.getall(hdrs.AUTHORIZATION, ())
    gate, need = request.app[GATE], _need(request)
    identity = gate.identify(need, authorization, certificate)
    request.app[BROWSER_GUARD].check(
        arrival_of(request), request.headers, partial(gate.shows_token, authorization)
    )
    gate.check(need, identity)
    if (name := request.match_info.get("name")) is not None:
        check_subscription(identity.entry, name)
    return identity


def arrival_of(request: web.Request) -> Arrival:
    """Return how a request came, for the guard against pages in browsers."""
    connection = request.protocol
    return Arrival(
        request.method,
        request.secure,
        isinstance(connection, Connection) and connection.at_loopback,
        _need(request) is not Need.NOTHING,
    )


def entry_of(request: web.Request) -> Entry:
    """Return what the sender of a request may do."""
    return request[IDENTITY].entry


def _need(request: web.Request) -> Need | None:
    resource = request.match_info.route.resource
    if resource is None:
        return None
    return NEEDS.get((_method(request.method), resource.canonical))


def _method(method: str) -> str:
    return "GET" if method == "HEAD" else method

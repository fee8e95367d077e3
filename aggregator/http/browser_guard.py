"""The guard against pages in browsers: which requests of pages are served, by their headers alone.

A browser lets any page on the internet send requests to the machine that it runs on. It says of
each where it comes from, and that is what is judged here.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from multidict import MultiMapping, istr

from aggregator.access.errors import Forbidden
from aggregator.settings.origins import names_loopback, parse_host, parse_origin

_ORIGIN = istr("Origin")
_SITE = istr("Sec-Fetch-Site")
_MODE = istr("Sec-Fetch-Mode")
_DEST = istr("Sec-Fetch-Dest")
_USER = istr("Sec-Fetch-User")
_STORAGE = istr("Sec-Fetch-Storage-Access")
_COOKIE = istr("Cookie")
_USER_AGENT = istr("User-Agent")
_HOST = istr("Host")
_REQUEST_METHOD = istr("Access-Control-Request-Method")

_OWN_SITES = {"same-origin", "none"}
"""A page of the aggregator's own origin, and what a person typed or chose from bookmarks."""

_PREFLIGHT_S = 600
"""Time that a browser may keep the answer to a preflight."""

_EXPOSED = (
    "Link, Log-Head, Log-Start, Retry-After, RateLimit, RateLimit-Policy, Preference-Applied, "
    "X-Request-ID"
)
_GRANTED = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    # `Authorization` is none of those that the asterisk stands for.
    "Access-Control-Allow-Headers": "Authorization, *",
    "Access-Control-Max-Age": str(_PREFLIGHT_S),
}


class FromAnotherSite(Forbidden):
    """A page of another site sent a request; the message is one sentence."""


class ForeignHost(Forbidden):
    """A browser reached this machine by a name that may be anybody's; one sentence."""


class Arrival(NamedTuple):
    """How a request came, besides its headers.

    Args:
        method: its method.
        secure: whether its connection speaks TLS.
        loopback: whether its connection ends at an address that only this machine reaches.
        tells_data: whether its path tells anything of data, or leads nowhere.
    """

    method: str
    secure: bool
    loopback: bool
    tells_data: bool


def looks_like_a_browsers(headers: MultiMapping[str]) -> bool:
    """Return whether a browser may have sent a request; no other one is judged."""
    # One by one: publishes by the thousand have none of these.
    return (
        _ORIGIN in headers
        or _SITE in headers
        or _COOKIE in headers
        or _MODE in headers
        or _DEST in headers
        or _USER in headers
        or _STORAGE in headers
        or headers.get(_USER_AGENT, "").startswith("Mozilla/")
    )


class BrowserGuard:
    """Decides which requests of browsers are served.

    Args:
        origins: those whose pages may ask for everything, as browsers write them.
        hosts: names by which this machine is known, besides those of loopback addresses.
    """

    def __init__(self, origins: Collection[str] = (), hosts: Collection[str] = ()) -> None:
        self._origins = frozenset(origins)
        self._hosts = frozenset(hosts)

    def check(
        self, arrival: Arrival, headers: MultiMapping[str], shows_token: Callable[[], bool]
    ) -> None:
        """Return if a request is to be served.

        Args:
            arrival: how it came.
            headers: of the request.
            shows_token: tells whether it has a bearer token that is in force.

        Raises:
            FromAnotherSite: a page sent it that is neither its own nor of an allowed origin.
            ForeignHost: it came to a loopback address, and names a host that is not known.
        """
        if not looks_like_a_browsers(headers):
            return
        if not self._is_at_home(arrival, headers):
            raise FromAnotherSite(_another_site(headers))
        if not self._names_known_host(arrival, headers) and not shows_token():
            raise ForeignHost(
                f"a browser asks for the host {headers.get(_HOST, '')[:64]!r}, which is no name of "
                "this machine alone; open it at localhost or 127.0.0.1, or name the host with "
                "--allowed-host"
            )

    def preflight(self, arrival: Arrival, headers: MultiMapping[str]) -> Mapping[str, str] | None:
        """Return the headers that grant a preflight; None if it is none, or is not granted."""
        if arrival.method != "OPTIONS" or _REQUEST_METHOD not in headers:
            return None
        if self._allowed_origin(headers) is None or not self._names_known_host(arrival, headers):
            return None
        return _GRANTED

    def answer_headers(self, headers: MultiMapping[str], vary: str) -> Mapping[str, str]:
        """Return the headers with which a browser gives an answer to a page of another origin.

        They are the same for every status, and never allow credentials that a browser adds.

        Args:
            headers: of the request.
            vary: the answer's `Vary`, empty if it has none.
        """
        if not self._origins:
            return {}
        answer = {"Vary": f"{vary}, Origin" if vary else "Origin"}
        if (origin := self._allowed_origin(headers)) is not None:
            answer["Access-Control-Allow-Origin"] = origin
            answer["Access-Control-Expose-Headers"] = _EXPOSED
        return answer

    def _allowed_origin(self, headers: MultiMapping[str]) -> str | None:
        named = headers.getall(_ORIGIN, ())
        return named[0] if len(named) == 1 and named[0] in self._origins else None

    def _is_at_home(self, arrival: Arrival, headers: MultiMapping[str]) -> bool:
        if sites := headers.getall(_SITE, ()):
            at_home = _OWN_SITES.issuperset(sites)
        else:
            at_home = _is_own_origin(arrival, headers)
        return at_home or self._allowed_origin(headers) is not None or _is_visit(arrival, headers)

    def _names_known_host(self, arrival: Arrival, headers: MultiMapping[str]) -> bool:
        if not arrival.loopback:
            return True
        named = headers.getall(_HOST, ())
        host = parse_host(named[0]) if len(named) == 1 else None
        if host is None:
            return False
        return names_loopback(host.name) or host.name.removesuffix(".") in self._hosts


def _is_own_origin(arrival: Arrival, headers: MultiMapping[str]) -> bool:
    """Return whether all that `Origin` names is where the request went."""
    named, hosts = headers.getall(_ORIGIN, ()), headers.getall(_HOST, ())
    if not named:
        return True
    host = parse_host(hosts[0]) if len(hosts) == 1 else None
    origin = parse_origin(named[0]) if len(named) == 1 else None
    return host is not None and origin is not None and origin.is_at(host, secure=arrival.secure)


def _is_visit(arrival: Arrival, headers: MultiMapping[str]) -> bool:
    """Return whether somebody follows a link to a page: the page that has it sees no answer."""
    return (
        not arrival.tells_data
        and arrival.method in {"GET", "HEAD"}
        and headers.getall(_MODE, ()) == ["navigate"]
        and headers.getall(_DEST, ()) == ["document"]
    )


def _another_site(headers: MultiMapping[str]) -> str:
    if origin := headers.get(_ORIGIN):
        return (
            f"a page of {origin[:64]!r} asks, which is another origin; --allow-origin names those "
            "whose pages may"
        )
    site = headers.get(_SITE, "")[:64]
    return (
        f"a page of another site asks (Sec-Fetch-Site: {site!r}), and its browser does not say "
        "which; pages of an origin that --allow-origin names may, by fetch or EventSource"
    )

"""The requests of subscriptions: their names, their bodies, what they may not have."""

from aiohttp import hdrs, web

from aggregator.http.request_body import read_body
from aggregator.ingest.admission import QueueFull
from aggregator.subscriptions.errors import NoSuchSubscription
from aggregator.wire.errors import InvalidRequest
from aggregator.wire.headers import (
    check_type_is_named,
    parse_content_encoding,
    parse_content_type,
)
from aggregator.wire.subscription_settings import subscription_name_rule_broken

MAX_BODY_BYTES = 2**20
"""Largest body of a request that makes, leases, settles or moves, after decompression."""

_JSON = "application/json"
_MAX_BYTES = 64 * 2**20


class CommandBodies:
    """Reads the bodies of requests, which together have a bound of their own.

    Publishes have theirs: where they fill it, consumers still settle.

    Args:
        timeout_s: longest time to wait for all of a body, in seconds.
        max_bytes: bytes of bodies that are on their way.
    """

    def __init__(self, timeout_s: float, max_bytes: int = _MAX_BYTES) -> None:
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self.bytes = 0
        """Bytes of the bodies that are not whole yet."""

    async def read(self, request: web.Request) -> bytes:
        """Read the body of a request, which is JSON.

        Raises:
            InvalidRequest: the request has parameters.
            UnsupportedMediaType: it is not JSON.
            TooLarge, MalformedBody, BodyTooSlow, QueueFull: see `read_body`.
        """
        refuse_parameters(request)
        content_type = request.headers.get(hdrs.CONTENT_TYPE)
        # Clients of some libraries name a type where they send nothing.
        if content_type != _JSON and request.can_read_body:
            check_type_is_named(request.headers)
            parse_content_type(content_type, ndjson=False)
        gzip = hdrs.CONTENT_ENCODING in request.headers and parse_content_encoding(
            request.headers.getall(hdrs.CONTENT_ENCODING)
        )
        reserved = 0

        def reserve(size: int) -> None:
            nonlocal reserved
            if self.bytes + size > self._max_bytes:
                raise QueueFull(f"{self.bytes} bytes of other requests are on their way")
            self.bytes += size
            reserved += size

        try:
            return await read_body(
                request,
                reserve,
                gzip=gzip,
                max_body_bytes=MAX_BODY_BYTES,
                timeout_s=self._timeout_s,
            )
        finally:
            self.bytes -= reserved


def refuse_parameters(request: web.Request) -> None:
    """Refuse a request that has parameters and takes none.

    Raises:
        InvalidRequest: it has.
    """
    if query := request.rel_url.raw_query_string:
        name = query.partition("=")[0][:64]
        raise InvalidRequest(f"unknown parameter {name!r}; this request takes none")


def subscription_name(request: web.Request) -> str:
    """Return the name of the subscription that a request is about.

    Raises:
        NoSuchSubscription: no subscription can have it.
    """
    name = request.match_info["name"]
    if subscription_name_rule_broken(name):
        # It is not stored, and a database may refuse to be asked for it.
        raise NoSuchSubscription(f"there is no subscription {name[:64]!r}")
    return name

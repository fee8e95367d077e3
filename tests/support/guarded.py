"""A server in an aggregator's place that lets in by a token, and may refuse all the same."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

from support.scripted import Scripted

CAUGHT_UP = 'retry: 1000\n\nid: 0\nevent: caught-up\ndata: {"orders":0}\n\n'
SUBSCRIPTION = {
    "name": "billing",
    "settings": {"order": "topic", "lease_ms": 30_000},
    "state": "active",
    "reason": None,
}
STATS = {
    "received": 0, "unique_processed": 0, "duplicate_dropped": 0, "conflicts": 0, "topics": {},
}  # fmt: skip

Refuse = Callable[[web.Request], web.Response | None]
"""Gives an answer in place of that to the request, or None."""


def problem(status: int, detail: str, **headers: str) -> web.Response:
    """A refusal as an aggregator gives it."""
    return web.json_response(
        {"status": status, "detail": detail},
        status=status,
        headers=headers,
        content_type="application/problem+json",
    )


class Guarded:
    """Answers who shows the token, and keeps the headers of each request.

    Args:
        token: the token; None: everybody is let in.
        refuse: may answer ahead of it.
    """

    def __init__(self, token: str | None, refuse: Refuse | None) -> None:
        self.token = token
        self.refuse = refuse
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self._log = Scripted()

    @property
    def tokens(self) -> list[str | None]:
        """The header Authorization of each request."""
        return [headers.get("Authorization") for headers in self.headers]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        body = await request.read()
        self.headers.append(dict(request.headers))
        if self.refuse is not None and (refusal := self.refuse(request)) is not None:
            return refusal
        if (refusal := refused(request, self.token)) is not None:
            return refusal
        if request.path == "/publish":
            return web.json_response(self._log.store(body))
        if request.path == "/events":
            return web.Response(text=CAUGHT_UP, content_type="text/event-stream")
        return web.json_response(STATS if request.path == "/stats" else SUBSCRIPTION)


def refused(request: web.Request, token: str | None) -> web.Response | None:
    """The refusal of a request without the token, which says what it had in its place."""
    shown = request.headers.get("Authorization")
    if token is None or shown == f"Bearer {token}":
        return None
    # What no server should do, some do.
    detail = f"the token {(shown or '').removeprefix('Bearer ')!r} is not known"
    return problem(401, detail, **{"WWW-Authenticate": "Bearer"})


@asynccontextmanager
async def guarding(
    token: str | None = None,
    *,
    refuse: Refuse | None = None,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[Guarded]:
    """Such a server, listening; with a context it speaks TLS."""
    guarded = Guarded(token, refuse)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", guarded.answer)
    server = TestServer(app, scheme="https" if context else "http")
    await server.start_server(ssl=context)
    guarded.url = f"{'https' if context else 'http'}://127.0.0.1:{server.port}"
    try:
        yield guarded
    finally:
        await server.close()

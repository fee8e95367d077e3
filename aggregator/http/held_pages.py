"""Pages that are held until something passes their filters: `Prefer: wait`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web
from msgspec.structs import replace

from aggregator.http.connection import Connection
from aggregator.http.middleware import REQUEST_CONTEXT
from aggregator.http.read_response import ReadResponse
from aggregator.live.waits import Wait, Waits
from aggregator.observability.labels import WAITS_PATH
from aggregator.wire.event_query import ReadRequest
from aggregator.wire.headers import parse_wait
from storage.model import Page

_PREFER = "Prefer"


def wait_s(request: web.Request, wanted: ReadRequest) -> int | None:
    """Return the seconds that a request wants to wait for its page, if it does and may.

    Args:
        request: its headers count.
        wanted: the page.
    """
    if _PREFER not in request.headers or not wanted.can_wait:
        return None
    return parse_wait(request.headers.getall(_PREFER))


class HeldPages:
    """Answers requests that wait for their page.

    Args:
        waits: the room for waits.
    """

    def __init__(self, waits: Waits) -> None:
        self._waits = waits

    async def response(
        self,
        request: web.Request,
        wanted: ReadRequest,
        wait_s: int,
        respond: Callable[[Page[bytes]], ReadResponse],
    ) -> ReadResponse:
        """Return the response with a page that has events, or with an empty one in the end.

        Args:
            request: the request.
            wanted: the page, of one topic.
            wait_s: seconds that it may be held.
            respond: makes the response.
        """
        # The time that it is held says nothing of how long reads take.
        request[REQUEST_CONTEXT] = replace(request[REQUEST_CONTEXT], route=WAITS_PATH)
        topic = wanted.query.topic or ""
        with self._waits.hold(wait_s) as wait, _ended_with_client(wait, request):
            page = await wait.page(wanted.query, topic)
            response = respond(page)
            response.coded = page.coded
            gone = isinstance(request.protocol, Connection) and request.protocol.gone
        if not gone:
            response.headers["Preference-Applied"] = f"wait={wait_s}"
        if self._waits.draining:
            # What is asked for next had better be asked of another aggregator.
            response.force_close()
        return response


@contextmanager
def _ended_with_client(wait: Wait, request: web.Request) -> Iterator[None]:
    """End a wait when its client is gone."""
    connection = request.protocol
    if not isinstance(connection, Connection):
        yield
        return
    connection.on_gone = wait.end
    if connection.gone:
        wait.end()
    try:
        yield
    finally:
        connection.on_gone = None

"""NDJSON: the events of a query as one streamed answer, one event a line."""

from collections.abc import Mapping

from aiohttp import web

from aggregator.http.log_headers import log_headers
from aggregator.http.read_response import ReadResponse
from aggregator.reading.event_stream import EventStream
from aggregator.wire.accept import NDJSON
from aggregator.wire.event_encoding import encode_lines
from storage.model import EventColumns


class StreamedResponse(web.StreamResponse):
    """An answer whose lines are read while it is sent; see `ResponseSender`.

    Args:
        stream: open; it is closed with the answer.
        headers: of the answer.
    """

    def __init__(self, stream: EventStream, headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        self.content_type = NDJSON
        self.stream = stream
        self.sent_bytes = 0
        """Bytes given to the transport, the head of the answer included."""

    def log_fields(self, *, complete: bool) -> dict[str, object]:
        """Return what the log says of it besides what it says of every answer."""
        return {"complete": complete, "events": self.stream.events, "bytes": self.sent_bytes}


async def stream_lines(stream: EventStream) -> StreamedResponse:
    """Begin a stream, as far as that it can't be refused any more.

    Args:
        stream: not open yet.

    Raises:
        QueueFull: there is no room for it now.
        StorageError: the store failed.
    """
    await stream.open()
    headers = {} if stream.head is None else log_headers(stream.head)
    return StreamedResponse(stream, headers)


def one_line(found: EventColumns | None, headers: Mapping[str, str]) -> ReadResponse:
    """Return the answer to NDJSON of a single event: its line, or none."""
    lines = [] if found is None else [encode_lines(found)]
    return ReadResponse(lines, headers, content_type=NDJSON)

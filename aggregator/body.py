"""Reading a request's body within its bounds, decompressed, as it comes in."""

import asyncio

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from aggregator.ingest.admission import Ticket
from aggregator.wire.errors import MalformedBody, TooLarge
from aggregator.wire.gunzip import Gunzip


async def read_body(
    request: web.BaseRequest, ticket: Ticket, *, gzip: bool, max_body_bytes: int
) -> bytes:
    """The body, decompressed.

    Room is claimed from `ticket` for every piece before it is kept, and the limit holds
    after decompression, while streaming: a few compressed kilobytes can't become gigabytes.

    Raises:
        TooLarge: more than `max_body_bytes`, announced or sent.
        MalformedBody: broken compression, or a body that ends early.
        QueueFull: no room now.
    """
    # A compressed body is never much larger than what it holds; one that is holds nothing.
    max_sent_bytes = 2 * max_body_bytes if gzip else max_body_bytes
    if request.content_length is not None and request.content_length > max_sent_bytes:
        raise _too_large(max_body_bytes)
    body = bytearray()
    sent = 0
    gunzip = Gunzip() if gzip else None
    try:
        async for data in request.content.iter_any():
            sent += len(data)
            if sent > max_sent_bytes:
                raise _too_large(max_body_bytes)
            for piece in gunzip.feed(data) if gunzip else (data,):
                if len(body) + len(piece) > max_body_bytes:
                    raise _too_large(max_body_bytes)
                ticket.take(size=len(piece))
                body += piece
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
        raise MalformedBody("the body ended before all of it was sent") from error
    except asyncio.IncompleteReadError as error:
        raise MalformedBody("the body ended before all of it was sent") from error
    if gunzip:
        gunzip.finish()
    return bytes(body)


def _too_large(max_body_bytes: int) -> TooLarge:
    return TooLarge(
        f"the body is over the limit of {max_body_bytes} bytes (after decompression); "
        "send fewer events at a time"
    )

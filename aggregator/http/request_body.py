"""The body of a request, read within its bounds and decompressed as it comes in."""

import asyncio
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from aggregator.wire.errors import BodyTooSlow, MalformedBody, TooLarge
from aggregator.wire.gunzip import Gunzip


async def read_body(
    request: web.BaseRequest,
    reserve_bytes: Callable[[int], None],
    *,
    gzip: bool,
    max_body_bytes: int,
    timeout_s: float,
) -> bytes:
    """Read the body of a request.

    The limit holds after decompression, while streaming: a few compressed kilobytes can't become
    gigabytes.

    Args:
        request: whose body is not read yet.
        reserve_bytes: called with the bytes of every piece before it is kept; may raise.
        gzip: whether it is compressed.
        max_body_bytes: largest body after decompression.
        timeout_s: longest time to wait for all of it, in seconds.

    Returns:
        The body, decompressed.

    Raises:
        TooLarge: more than `max_body_bytes`, announced or sent.
        MalformedBody: broken compression, or a body that ends early.
        BodyTooSlow: not complete after `timeout_s` seconds; it would hold its room for ever.
        QueueFull: no room now.
    """
    # A compressed body is never much larger than what it holds; one that is holds nothing.
    max_sent_bytes = 2 * max_body_bytes if gzip else max_body_bytes
    if request.content_length is not None and request.content_length > max_sent_bytes:
        raise _too_large(max_body_bytes)
    content = request.content
    if not gzip and content.is_eof() and content.exception() is None:
        # It came with its head, as small ones do.
        whole = content.read_nowait()
        if len(whole) > max_body_bytes:
            raise _too_large(max_body_bytes)
        reserve_bytes(len(whole))
        return whole
    body = bytearray()
    gunzip = Gunzip() if gzip else None
    try:
        async with asyncio.timeout(timeout_s):
            async for data in _received(request, max_sent_bytes, max_body_bytes):
                for piece in gunzip.feed(data) if gunzip else (data,):
                    if len(body) + len(piece) > max_body_bytes:
                        raise _too_large(max_body_bytes)
                    reserve_bytes(len(piece))
                    body += piece
    except TimeoutError as error:
        raise BodyTooSlow(
            f"the body was not complete after {timeout_s:g} seconds; send fewer events at a time"
        ) from error
    if gunzip:
        gunzip.finish()
    return bytes(body)


async def _received(
    request: web.BaseRequest, max_sent_bytes: int, max_body_bytes: int
) -> AsyncIterator[bytes]:
    sent = 0
    try:
        async for data in request.content.iter_any():
            sent += len(data)
            if sent > max_sent_bytes:
                raise _too_large(max_body_bytes)
            yield data
    except (
        web.RequestPayloadError,
        HttpProcessingError,
        ConnectionError,
        asyncio.IncompleteReadError,
    ) as error:
        raise MalformedBody("the body ended before all of it was sent") from error


def _too_large(max_body_bytes: int) -> TooLarge:
    return TooLarge(
        f"the body is over the limit of {max_body_bytes} bytes (after decompression); "
        "send fewer events at a time"
    )

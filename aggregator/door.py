"""Refusing publishes at the door: before aiohttp makes a request of what its parser has read.

When publishers send far more than can be taken, most of what the process does is to refuse, and
what that costs the store can't have: there is one interpreter lock. A refusal that goes through
tasks, routing and a response costs twice what reading the request and writing the answer does.
So a publish that came in whole, on a connection that waits for nothing else, is refused with a
handful of bytes. Whatever is less plain goes the usual way, and is refused there.
"""

import time
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from aggregator.ingest.admission import QueueFull
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.problems import CONTENT_TYPE, RETRY_AFTER_S, refusal
from aggregator.request_log import RequestLog, request_id
from storage.errors import StorageError

_MAX_BODY_BYTES = 64 * 1024
"""aiohttp stops reading a connection that holds more, and goes on when a handler has read it."""


class Door:
    """Who is refused at once.

    Args:
        check_taking: raises if no publish is to be taken now: `QueueFull`, `ShuttingDown` or a
            `StorageError`.
        log: where refused requests are noted.
    """

    def __init__(self, check_taking: Callable[[], None], log: RequestLog) -> None:
        self._check_taking = check_taking
        self._log = log

    def refuse(self, message: RawRequestMessage, body: StreamReader) -> bytes | None:
        """The answer to a publish that is not to be taken; None for all that goes the usual way.

        Args:
            message: the only request that the connection has to answer.
        """
        if (
            message.path != "/publish"
            or message.method != "POST"
            or message.version != HttpVersion11
            or message.should_close
            or not body.is_eof()
            or body.total_bytes > _MAX_BODY_BYTES
        ):
            return None
        started = time.perf_counter()
        try:
            self._check_taking()
        except (QueueFull, ShuttingDown, StorageError) as error:
            content = refusal(error)
        else:
            return None
        id_ = request_id(message.headers)
        self._log.note(
            request_id=id_,
            method=message.method,
            path=message.path,
            status=HTTPStatus.SERVICE_UNAVAILABLE,
            duration_ms=(time.perf_counter() - started) * 1000,
        )
        return (
            b"HTTP/1.1 503 Service Unavailable\r\n"
            b"Retry-After: %d\r\n"
            b"Content-Type: %b\r\n"
            b"X-Request-ID: %b\r\n"
            b"Content-Length: %d\r\n\r\n%b"
        ) % (RETRY_AFTER_S, CONTENT_TYPE.encode(), id_.encode(), len(content), content)

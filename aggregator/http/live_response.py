"""The answer that follows the log: an event stream, or NDJSON that goes on."""

from collections.abc import Callable, Mapping

from aiohttp import hdrs, web

from aggregator.live.ends import CLIENT
from aggregator.live.follower import Follower
from aggregator.live.log_chunks import Form
from aggregator.wire.accept import EVENT_STREAM, NDJSON
from aggregator.wire.stream_blocks import RETRY, unavailable_block

_CONTENT_TYPES = {Form.BLOCKS: EVENT_STREAM, Form.LINES: NDJSON}

_HEADERS = {
    hdrs.CACHE_CONTROL: "no-store",
    # nginx would keep what it has until its buffer is full.
    "X-Accel-Buffering": "no",
}


class LiveResponse(web.StreamResponse):
    """An answer that goes on as events come; see `ResponseSender`.

    Args:
        follower: open; it is closed with the answer.
        close: gives up its room.
        headers: of the answer, besides those of every stream.
    """

    def __init__(
        self, follower: Follower, close: Callable[[Follower], object], headers: Mapping[str, str]
    ) -> None:
        super().__init__(headers={**_HEADERS, **headers})
        self.content_type = _CONTENT_TYPES[follower.form]
        self.follower = follower
        self.sent_bytes = 0
        """Bytes of its body given to the transport."""
        self._close = close

    def close(self) -> None:
        """Give up its room. Idempotent."""
        self._close(self.follower)

    def log_fields(self, *, complete: bool) -> dict[str, object]:
        """Return what the log says of it at its end, besides what it says of every answer."""
        return {
            "complete": complete,
            "events": self.follower.events,
            "bytes": self.sent_bytes,
            "ended_by": self.follower.ended or CLIENT,
        }

    def opened_fields(self) -> dict[str, object]:
        """Return what the log says of it at its start."""
        follower = self.follower
        return {"position": follower.position, "topics": len(follower.places.topics)}


class UnavailableStream(web.Response):
    """The answer to a stream that can't be served now, after which a browser comes back.

    With a status of its own a browser would not.

    Args:
        reason: a sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(body=RETRY + unavailable_block(reason), headers=_HEADERS)
        self.content_type = EVENT_STREAM
        self.reason_given = reason

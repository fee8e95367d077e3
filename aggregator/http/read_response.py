"""The answer to a read: its body in parts, sent as they are and freed as they are taken."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from aiohttp import web


class ReadResponse(web.StreamResponse):
    """An answer whose body is known, in parts; the sender compresses it for who accepts that.

    Args:
        parts: of the body.
        headers: of the answer.
        content_type: the media type, without parameters.
    """

    def __init__(
        self,
        parts: Iterable[bytes],
        headers: Mapping[str, str] | None = None,
        *,
        content_type: str = "application/json",
    ) -> None:
        super().__init__(headers=headers)
        if "Content-Type" not in self.headers:
            self.content_type = content_type
        self.parts = deque(parts)
        self.coded: dict[str, asyncio.Future[deque[bytes]]] | None = None
        """The compressed forms of its body by content coding, if others send the same body: the
        first makes a form, and the others have it from here. None: nobody else does."""
        self.on_sent: Callable[[bool], object] | None = None
        """Callback with whether all of it was sent, when that is known."""
        self.is_encoded = False
        """Whether its content coding is decided, and its parts have it."""

    @property
    def size(self) -> int:
        """The bytes of its parts."""
        return sum(map(len, self.parts))

"""The answer to a read: its body in parts, sent as they are and freed as they are taken."""

from collections import deque
from collections.abc import Iterable, Mapping

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

    @property
    def size(self) -> int:
        """The bytes of its parts."""
        return sum(map(len, self.parts))

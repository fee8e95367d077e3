"""The outlet of a stream: the connection that it is written to."""

from collections.abc import Callable
from typing import Protocol


class Outlet(Protocol):
    """The connection that a stream is written to."""

    def write(self, data: bytes) -> bool:
        """Write bytes, and return whether the kernel has all of them.

        Raises:
            ConnectionError: it is gone.
        """
        ...

    async def drained(self, held: int, drop: Callable[[], object]) -> None:
        """Return when the kernel has all that was written.

        Args:
            held: bytes that are held besides until then.
            drop: called when others need their room.

        Raises:
            ConnectionError: it is gone.
        """
        ...

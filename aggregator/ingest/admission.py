"""Admission control: a bound on the events and bytes that are on their way through at once.

A request reserves room before its bytes are kept and releases it when it is answered. When there
is none left the answer is a 503, never a longer queue: a limit on everything, after TigerBeetle's
"Tiger Style".
"""

from typing import Self


class QueueFull(Exception):
    """No room now; the same request will find some later."""


class Admission:
    """The room for publishes: events and bytes, of bodies being read and of events not yet stored.

    Once a request was refused for its events, all are, until there is room for a largest one.
    They are refused before they are read and parsed, which would cost the store what it needs
    to catch up; and large requests are not kept out for good by small ones.

    Args:
        max_events: events at once, at least what one largest request has.
        max_bytes: bytes at once, at least what one largest request has.
        max_batch_events: events of one largest request.
    """

    def __init__(self, *, max_events: int, max_bytes: int, max_batch_events: int = 1) -> None:
        self.max_events = max_events
        self.max_bytes = max_bytes
        self._reopen_events = max_events - max_batch_events
        self._full = False
        self.events = 0
        self.bytes = 0
        self.refused = {"events": 0, "bytes": 0}
        """Number of requests refused, by what was full."""

    def reservation(self) -> "Reservation":
        """Return a request's reservation, empty at first; a context manager that releases it."""
        return Reservation(self)

    def check(self) -> None:
        """Return if a request may be read now.

        Raises:
            QueueFull: no room now.
        """
        if self._full and self.events > self._reopen_events:
            self.refused["events"] += 1
            raise QueueFull(
                f"the queue is full: {self.events} events wait; it takes more when "
                f"{self._reopen_events} do"
            )
        self._full = False
        self.reserve(events=1, size=1)
        self.release(events=1, size=1)

    def reserve(self, *, events: int = 0, size: int = 0) -> None:
        """Reserve room for so many events and bytes.

        Raises:
            QueueFull: no room now; nothing is reserved.
        """
        if self.events + events > self.max_events:
            self._full = True
            self.refused["events"] += 1
            raise QueueFull(
                f"the queue is full: {self.events} events wait, at most {self.max_events} may"
            )
        if self.bytes + size > self.max_bytes:
            self.refused["bytes"] += 1
            raise QueueFull(
                f"the queue is full: {self.bytes} bytes wait, at most {self.max_bytes} may"
            )
        self.events += events
        self.bytes += size

    def release(self, *, events: int, size: int) -> None:
        """Release room that was reserved."""
        self.events -= events
        self.bytes -= size


class Reservation:
    """The room that one request has reserved of an `Admission`."""

    __slots__ = ("_admission", "_events", "size")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._events = 0
        self.size = 0
        """Bytes reserved."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Release all that was reserved. Idempotent."""
        self._admission.release(events=self._events, size=self.size)
        self._events = self.size = 0

    def reserve(self, *, events: int = 0, size: int = 0) -> None:
        """Reserve more; see `Admission.reserve`."""
        self._admission.reserve(events=events, size=size)
        self._events += events
        self.size += size

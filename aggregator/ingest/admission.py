"""Back-pressure: how much may be on its way through the aggregator at once.

A request takes its room before its bytes are kept and gives it back when it is answered. When
there is none left the answer is a 503, never a longer queue: a limit on everything, after
TigerBeetle's "Tiger Style".
"""

from typing import Self


class QueueFull(Exception):
    """There is no room now; the same request will find some later."""


class Admission:
    """The room there is: events and bytes, of bodies being read and of events not yet stored.

    Once a request was refused for its events, all are, until there is room for a largest one.
    They are refused before they are read and parsed, which would cost the store what it needs
    to catch up; and large requests are not kept out for good by small ones.

    Args:
        max_events, max_bytes: both at least what one largest request needs.
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
        """How often there was no room, by what was full."""

    def reservation(self) -> "Reservation":
        """A request's claim, empty at first; a context manager that gives it back."""
        return Reservation(self)

    def check(self) -> None:
        """Raise `QueueFull` if no request is to be read now."""
        if self._full and self.events > self._reopen_events:
            self.refused["events"] += 1
            raise QueueFull(
                f"the queue is full: {self.events} events wait; it takes more when "
                f"{self._reopen_events} do"
            )
        self._full = False
        self.take(events=1, size=1)
        self.give_back(events=1, size=1)

    def take(self, *, events: int = 0, size: int = 0) -> None:
        """Claim room for so many events and bytes, or raise `QueueFull` and claim nothing."""
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

    def give_back(self, *, events: int, size: int) -> None:
        """Return room that was taken."""
        self.events -= events
        self.bytes -= size


class ReadLimit:
    """The reads that may wait for the store or be under way at once.

    What a read needs is bounded, but who asks and hangs up leaves it behind, and could go on.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.under_way = 0
        self.refused = 0
        """How often there was no room."""

    def __enter__(self) -> None:
        if self.under_way >= self.most:
            self.refused += 1
            raise QueueFull(f"{self.under_way} reads are under way, as many as may be")
        self.under_way += 1

    def __exit__(self, *_: object) -> None:
        self.under_way -= 1


class Reservation:
    """What one request has claimed of an `Admission`."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._events = 0
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Return all that was claimed."""
        self._admission.give_back(events=self._events, size=self._size)
        self._events = self._size = 0

    def take(self, *, events: int = 0, size: int = 0) -> None:
        """Claim more; see `Admission.take`."""
        self._admission.take(events=events, size=size)
        self._events += events
        self._size += size

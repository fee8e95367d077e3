"""What leases gave, and what has become of it: the facts that a judge of subscribers goes by."""

from dataclasses import dataclass, field
from typing import Any

from subscriber.calls.requests import Delivered, Leased, Settle
from support.library_calls import Sent

Place = tuple[str, int]
"""A topic and an offset."""


@dataclass(eq=False)
class Consumer:
    """A subscriber, and what the judge knows of it.

    Attributes:
        number: by which it is named.
        max_events: of its leases.
        gives_up: whether it does at some time.
        settling: settles of it that are under way.
        leasing: requests for a lease that are under way.
        unanswered: the last settle that was sent and not answered, if it was the last one.
        running: what its handlers have by topic; the handlers are told apart by their tasks.
        is_disturbed: whether something cancels its handlers.
        is_troubled: whether its requests may meet troubles, and leases may be lost by time.
        stopped_s: when it was stopped, by the clock of the event loop.
        most: deliveries that a handler may have at once.
        concurrency: handlers that it may have at once.
        calls: of handlers that are under way.
        is_over: whether it ends, or has failed.
    """

    number: int
    max_events: int
    gives_up: bool
    settling: int = 0
    leasing: int = 0
    unanswered: Settle | None = None
    running: dict[str, object] = field(default_factory=dict)
    is_disturbed: bool = False
    is_troubled: bool = True
    stopped_s: float | None = None
    most: int = 1
    concurrency: int = 1
    calls: int = 0
    is_over: bool = False


@dataclass(eq=False)
class Grant:
    """An event of a lease.

    Attributes:
        lease: that holds it.
        delivered: as it was handed out.
        epoch: how often its topic had been moved.
        decision: what is to become of it: `ack`, `retry`, `dead`, `release`, or `behind` for what
            is handed back with another; None: nothing yet.
        error: of a retry or a death.
        is_running: whether a handler has it.
        outcome: what has become of it at the aggregator.
    """

    lease: "Lease"
    delivered: Delivered
    epoch: int
    decision: str | None = None
    error: str | None = None
    is_running: bool = False
    outcome: str | None = None

    @property
    def place(self) -> Place:
        """Its topic and offset."""
        return self.delivered.topic, self.delivered.offset

    def __repr__(self) -> str:
        topic, offset = self.place
        what = f"{self.decision}, {self.outcome}{', running' if self.is_running else ''}"
        return f"<delivery {self.delivered.delivery} of {topic}/{offset}: {what}>"


@dataclass(eq=False)
class Lease:
    """A lease that was given.

    Attributes:
        consumer: who asked for it.
        lease_s: how long it lasts.
        until_us: when it runs out, by the clock of the aggregator.
        local_until_s: when it runs out by what its consumer knows; None: it has not got it.
        grants: its events.
        has_cause: whether something took it away, or a part of it.
        is_refused: whether its consumer was told that it is lost.
    """

    consumer: Consumer
    lease_s: float
    until_us: int
    local_until_s: float | None = None
    grants: dict[Place, Grant] = field(default_factory=dict)
    has_cause: bool = False
    is_refused: bool = False

    def undecided(self) -> list[Grant]:
        """Return the events of which is not known what is to become of them."""
        return [each for each in self.grants.values() if each.decision is None]

    def behind(self, place: Place) -> list[Grant]:
        """Return the events that are behind another one in its topic."""
        topic, offset = place
        return [each for (name, at), each in self.grants.items() if name == topic and at > offset]

    def is_known_to_be_lost(self, now_s: float) -> bool:
        """Return whether its consumer knows that it is lost, or must think so."""
        return self.is_refused or (self.local_until_s is not None and now_s >= self.local_until_s)

    def may_be_lost(self, now_s: float, now_us: int) -> bool:
        """Return whether there is a reason for it to be lost."""
        has_run_out = now_us >= self.until_us or self.is_known_to_be_lost(now_s)
        return self.has_cause or (has_run_out and self.consumer.is_troubled)


def leased_of(sent: Sent) -> Leased | None:
    """Return the lease that a request gave, if it did."""
    answer: Any = sent.answer
    return answer if isinstance(answer, Leased) and answer.lease is not None else None


def is_empty(settle: Settle) -> bool:
    """Return whether a settle does nothing but extend."""
    return not (settle.ack or settle.retry or settle.dead or settle.release)


def is_same(one: Settle, other: Settle) -> bool:
    """Return whether two settles are the same to an aggregator."""
    return one._replace(extend_ms=None) == other._replace(extend_ms=None)

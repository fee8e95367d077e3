"""Subscriptions as their page describes them, event by event, without the project's code.

It is slow and obvious on purpose: an event has an object of its own, and every count is counted.
Numbers in brackets are those of the sentences of docs/use/subscriptions.md.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from storage.subscriptions.model import OnDead, Order, SubscriptionSettings

MS = 1000
"""Microseconds in a millisecond."""


class Fate(Enum):
    """What has become of an event in a subscription."""

    WAITING = auto()
    LEASED = auto()
    """In a lease, which may have run out."""
    ACKNOWLEDGED = auto()
    DEAD = auto()

    @property
    def is_settled(self) -> bool:
        """Whether that is its end."""
        return self in {Fate.ACKNOWLEDGED, Fate.DEAD}


@dataclass
class GivenLease:
    """A lease as it was given, and what was said of it since."""

    id: str
    consumer: str
    size: int
    until_us: int
    extents: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By topic, the first and the last offset."""
    ended: bool = False
    """Whether a settle has left nothing of it."""


@dataclass
class EventRecord:
    """What a subscription knows of an event; where the page leaves that open, all it may be."""

    fate: Fate = Fate.WAITING
    handed: bool = False
    """Whether it was handed out since its topic's start."""
    deliveries: int = 0
    due_us: int = 0
    lease: GivenLease | None = None
    limits: frozenset[int] = frozenset({0})
    """How many events a lease with it may have; 0: any number."""
    errors: list[str] = field(default_factory=list)
    former_errors: list[str] = field(default_factory=list)
    """Those of before it was a dead letter that was retried."""
    dead_us: int = 0
    """When it was declared dead; 0: that is not known."""

    ran_out: bool = False
    """Whether it is dead since a lease ran out; then nobody said why."""

    def wait(self, due_us: int, limits: frozenset[int]) -> None:
        """Nobody has it, and it may be handed out from then on."""
        self.fate, self.lease, self.due_us, self.limits = Fate.WAITING, None, due_us, limits
        self.ran_out = False

    def end(self, fate: Fate, now_us: int = 0) -> None:
        """It is settled."""
        self.fate, self.lease, self.dead_us = fate, None, now_us


@dataclass
class TopicRecord:
    """A topic of a subscription: its start, and its events behind it that anything is known of."""

    start: int = 0
    redelivered: int = 0
    events: dict[int, EventRecord] = field(default_factory=dict)

    def event(self, offset: int) -> EventRecord:
        """What is known of an event."""
        assert offset > self.start
        return self.events.setdefault(offset, EventRecord())

    def count(self, fate: Fate) -> int:
        """Number of its events with a fate."""
        return sum(event.fate is fate for event in self.events.values())

    def unsettled(self) -> list[EventRecord]:
        """Those that were handed out and are not settled."""
        return [e for e in self.events.values() if e.handed and not e.fate.is_settled]


@dataclass
class DoneSettle:
    """A settle that was done, and its answer's counts."""

    at_us: int
    consumer: str
    counts: tuple[int, int, int, int]


class Log:
    """The events of all topics: source and time of each, from offset 1 on."""

    def __init__(self) -> None:
        self.topics: dict[str, list[tuple[str, int]]] = {}

    def __deepcopy__(self, _memo: object) -> "Log":
        """What happens to a copy of a model happens to the same log."""
        return self

    def head(self, topic: str) -> int:
        """The last offset; 0: there is none."""
        return len(self.topics.get(topic, ()))

    def source(self, topic: str, offset: int) -> str:
        """Whose event it is."""
        return self.topics[topic][offset - 1][0]

    def stored_us(self, topic: str, offset: int) -> int | None:
        """When it was stored; None: it is not there."""
        return self.topics[topic][offset - 1][1] if offset <= self.head(topic) else None


@dataclass
class SubscriptionRecord:
    """A subscription and all that the page says about it."""

    log: Log
    name: str
    id: str
    settings: SubscriptionSettings
    topics: dict[str, TopicRecord] = field(default_factory=dict)
    reason: str | None = None
    paused: bool | None = False
    """None: the page leaves it open until somebody looks."""
    dead_in_row: set[int] = field(default_factory=lambda: {0})
    leases: dict[str, GivenLease] = field(default_factory=dict)
    done: dict[tuple[str, bytes], DoneSettle] = field(default_factory=dict)
    last_ended: dict[str, str] = field(default_factory=dict)
    """By label of a consumer, the last lease that it ended."""

    def selected(self) -> list[str]:
        """Its topics that exist, by name in byte order."""
        return sorted((t for t in self.log.topics if self.selects(t)), key=str.encode)

    def selects(self, topic: str) -> bool:
        """Whether a topic is one of its topics."""
        return any(fits(wanted, topic) for wanted in self.settings.topics)

    def topic(self, name: str) -> TopicRecord:
        """A topic of it; one that appeared later begins before its offset 1 [9]."""
        return self.topics.setdefault(name, TopicRecord())

    def events(self, name: str) -> Iterator[tuple[int, EventRecord]]:
        """Offsets and events of a topic from its start to its head."""
        topic = self.topic(name)
        for offset in range(topic.start + 1, self.log.head(name) + 1):
            yield offset, topic.event(offset)

    def passes(self, topic: str, offset: int) -> bool:
        """Whether the filter lets an event through [10]."""
        return self.settings.source in {None, self.log.source(topic, offset)}

    def is_to_come(self, topic: str, offset: int, event: EventRecord) -> bool:
        """Whether an event is not settled, nor left out by the filter when it was new [11]."""
        return not event.fate.is_settled and (event.handed or self.passes(topic, offset))

    def held(self, lease: GivenLease) -> Iterator[tuple[str, int, EventRecord]]:
        """The events that a lease has, whether it has run out or not."""
        for name, topic in self.topics.items():
            for offset, event in topic.events.items():
                if event.lease is lease:
                    yield name, offset, event

    def is_open(self, lease: GivenLease | None, now_us: int) -> bool:
        """Whether a lease has not run out, and has events [21]."""
        return lease is not None and lease.until_us > now_us and any(self.held(lease))

    def is_leased(self, event: EventRecord, now_us: int) -> bool:
        """Whether an event is in a lease that has not run out."""
        return event.lease is not None and event.lease.until_us > now_us

    def leased(self, now_us: int, names: list[str] | None = None) -> int:
        """Number of events in leases that have not run out."""
        topics = self.topics if names is None else names
        return sum(
            self.is_leased(event, now_us)
            for name in topics
            for event in self.topic(name).unsettled()
        )

    def wait_again(self, now_us: int) -> int:
        """Number of events that wait to be redelivered."""
        return sum(
            not self.is_leased(event, now_us) and event.deliveries > 0
            for topic in self.topics.values()
            for event in topic.unsettled()
        )

    def backoff_us(self, deliveries: int) -> int:
        """How long to wait after so many deliveries [21]."""
        backoff_ms = self.settings.backoff_ms
        return backoff_ms[min(deliveries, len(backoff_ms)) - 1] * MS

    def due_us(self, event: EventRecord) -> int:
        """When an unsettled event may be handed out, at the earliest [21]."""
        if event.lease is not None:
            return event.lease.until_us + self.backoff_us(event.deliveries)
        return event.due_us

    def limits(self, event: EventRecord) -> frozenset[int]:
        """How many events a lease with an unsettled event may have; 0: any number [22]."""
        if event.lease is not None:
            return frozenset({max(1, event.lease.size // 10)})
        return event.limits

    def is_last(self, event: EventRecord) -> bool:
        """Whether an event is to be handed out in a lease of its own [22]."""
        return event.deliveries >= max(1, self.settings.max_deliveries - 1)

    def dies(self, event: EventRecord, now_us: int) -> bool:
        """Whether an event is dead as soon as anybody finds it [23]."""
        if event.lease is None or self.is_leased(event, now_us):
            return False
        return event.lease.size == 1 and event.deliveries >= self.settings.max_deliveries

    def find_dead(self, names: list[str], now_us: int) -> int:
        """Declare dead in some topics what is dead by its deliveries; return their number [23]."""
        found = [e for name in names for _, e in self.events(name) if self.dies(e, now_us)]
        for event in found:
            event.end(Fate.DEAD, now_us)
            event.ran_out = True
        return len(found)

    def stops_at(self, dead_in_row: int) -> bool:
        """Whether so many dead in a row pause it [40]."""
        stop = self.settings.stop_after_dead
        return stop is not None and dead_in_row >= stop

    def note_dead(self, in_row: set[int]) -> None:
        """Have so many, or so many, dead in a row, after some have died, and pause if it must."""
        self.dead_in_row = in_row
        if self.paused is True:
            return
        if all(map(self.stops_at, in_row)):
            self.paused = True
        elif any(map(self.stops_at, in_row)):
            self.paused = None

    def keeps_back(self, name: str) -> bool:
        """Whether a dead letter keeps a topic from handing out anything [39]."""
        return self.settings.on_dead is OnDead.PAUSE and self.topic(name).count(Fate.DEAD) > 0

    @property
    def keeps_order(self) -> bool:
        """Whether events of a topic come in order [4]."""
        return self.settings.order is Order.TOPIC


def fits(wanted: str, topic: str) -> bool:
    """Whether a topic has a name, or one that fits a pattern."""
    if "*" not in wanted:
        return wanted == topic
    parts = [
        ".*" if p == "**" else "[^.]*" if p == "*" else re.escape(p) for p in wanted.split(".")
    ]
    return re.fullmatch(r"\.".join(parts), topic) is not None

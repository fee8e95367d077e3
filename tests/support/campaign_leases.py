"""Leases and settles of a crash campaign, as the consumer that has them knows them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

Place = tuple[str, int]
"""A topic and an offset."""


@dataclass(eq=False)
class HeldLease:
    """A lease that was answered.

    Times are those of a monotonic clock here, in seconds. The database decided after the request
    was sent, so the lease lasts at least until `until_s`.
    """

    token: str
    consumer: str
    asked_s: float
    given_s: float
    until_s: float
    deliveries: dict[Place, int]
    """The events in the order in which they were given, and how often each was delivered."""
    event_ids: dict[Place, str]
    held: dict[Place, None] = field(init=False)
    """What no settle that was sent has named or handed back; in the same order."""

    def __post_init__(self) -> None:
        self.held = dict.fromkeys(self.deliveries)

    def by_topic(self) -> Iterator[tuple[str, list[int]]]:
        """The offsets of each topic, as they were given."""
        offsets: dict[str, list[int]] = {}
        for topic, offset in self.deliveries:
            offsets.setdefault(topic, []).append(offset)
        yield from offsets.items()

    def held_behind(self, place: Place) -> list[Place]:
        """What it holds of the topic behind an offset."""
        return [each for each in self.held if each[0] == place[0] and each[1] > place[1]]

    def held_before(self, place: Place) -> list[Place]:
        """What it holds of the topic before an offset."""
        return [each for each in self.held if each[0] == place[0] and each[1] < place[1]]


@dataclass(eq=False)
class Settle:
    """A settle, which may be sent more than once."""

    ack: Sequence[Place] = ()
    retry: Sequence[Place] = ()
    dead: Sequence[Place] = ()
    release: Sequence[Place] = ()
    extend_ms: int | None = None
    after_ms: int | None = None
    """Of what is retried."""
    behind: Sequence[Place] = ()
    """What a retry hands back, since the order of its topic is kept."""
    ends: bool = False
    """Whether nothing of the lease was left when it was sent first."""
    answer: dict[str, Any] | None = None
    """The first answer that says that it is done."""

    @property
    def settles(self) -> bool:
        """Whether it does more than to extend the lease."""
        return bool(self.ack or self.retry or self.dead or self.release)

    def body(self, lease: HeldLease, *, spans: bool) -> dict[str, Any]:
        """What is sent.

        Args:
            lease: whose events it names.
            spans: whether ranges go over offsets that the lease does not have.
        """
        place = {each: number for number, each in enumerate(lease.deliveries)}

        def ranges(named: Sequence[Place]) -> list[tuple[str, int, int]]:
            def run(numbered: tuple[int, Place]) -> tuple[str, int]:
                number, each = numbered
                return each[0], (place[each] if spans else each[1]) - number

            runs = [list(group) for _, group in groupby(enumerate(sorted(named)), run)]
            return [(run[0][1][0], run[0][1][1], run[-1][1][1]) for run in runs]

        retry: dict[str, Any] = {"error": "not now"}
        if self.after_ms is not None:
            retry["after_ms"] = self.after_ms
        parts: dict[str, Any] = {
            "ack": ranges(self.ack),
            "retry": [{"topic": topic, "offset": n, **retry} for topic, n in self.retry],
            "dead": [{"topic": topic, "offset": n, "error": "never"} for topic, n in self.dead],
            "release": ranges(self.release),
        }
        sent = {name: part for name, part in parts.items() if part}
        if self.extend_ms is not None:
            sent["extend_ms"] = self.extend_ms
        return {"lease": lease.token, **sent}

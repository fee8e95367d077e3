"""What a crash campaign sent, was told and found: the judge after every restart.

Each request carries a last event of its own that no other request holds, a retry another one
than its original. So the log tells of every single request whether it was stored, and the
counts must be those of the acknowledged requests and of the others that were found, exactly.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from support.campaign_tally import Tally
from support.load import Batch, Key, check_conservation, keys_of

SOURCE = "shop"
"""The source of most events."""

PAYLOAD = {"total": 42}
"""What every event holds but those that conflict."""


class Broken(AssertionError):
    """A guarantee did not hold."""


def key_of(event: dict[str, Any]) -> Key:
    """The dedup key of one event."""
    return event["topic"], event["event_id"]


def source_of(event_id: str) -> str:
    """The source of every event with this id."""
    return "web" if event_id.endswith("w") else SOURCE


@dataclass(eq=False)
class Attempt:
    """One request to one aggregator. The last event of the batch is in no other request."""

    batch: Batch
    fresh: frozenset[Key]
    """Keys that no other request can have stored."""
    to: int
    """The number of the aggregator's life."""
    known: frozenset[Key] = frozenset()
    """Keys that were read from the log before this was sent."""
    over: bool = False
    """Whether no answer will come any more."""
    whole: "asyncio.Future[bool]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """Whether it was found stored; set for those without an answer alone."""

    @property
    def own(self) -> Key:
        """The key that no other request holds."""
        return key_of(self.batch[-1])


class Settled(NamedTuple):
    """Per topic, what is certain to be counted."""

    received: Counter[str]
    conflicts: Counter[str]
    unique: Counter[str]


class Record:
    """Everything known of the log; raises `Broken` at the first thing that does not fit.

    `tally` is kept up to date on the way, `lost` and `doubled` included.
    """

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.log: defaultdict[str, list[str]] = defaultdict(list)
        """Each topic as it was read: the event id at offset n + 1."""
        self.open: set[Attempt] = set()
        """What was sent and is neither acknowledged nor judged."""
        self.topics: set[str] = set()
        """Those that something was sent to."""
        self._offsets: dict[Key, int] = {}
        self._conflicting: dict[Key, Any] = {}
        self._told: dict[Key, int] = {}
        self._stored: set[Key] = set()
        self._unchecked: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._unexplained: set[Key] = set()
        self._received: Counter[str] = Counter()
        self._conflicts: Counter[str] = Counter()

    def sent(self, attempt: Attempt) -> None:
        """A request goes out."""
        attempt.known = frozenset(keys_of(attempt.batch) & self._offsets.keys())
        self.open.add(attempt)
        self.topics.update(event["topic"] for event in attempt.batch)

    def acknowledged(self, attempt: Attempt, answer: dict[str, Any]) -> None:
        """A request was answered 200."""
        batch, results = attempt.batch, answer["results"]
        if [key_of(result) for result in results] != [key_of(event) for event in batch]:
            raise Broken(f"the results are of other events than those sent: {answer}")
        statuses = Counter(result["status"] for result in results)
        told = (answer["received"], answer["unique_processed"], answer["conflicts"])
        if told != (len(batch), statuses["stored"], statuses["conflict"]):
            raise Broken(f"{len(batch)} events were sent, and the answer is {answer}")
        last: Counter[str] = Counter()
        for event, result in zip(batch, results, strict=True):
            self._hear(attempt, result, last)
            self._unchecked.append((event, result))
        self.open.discard(attempt)
        self._received.update(event["topic"] for event in batch)
        self._conflicts.update(r["topic"] for r in results if r["status"] == "conflict")
        self.tally.requests += 1
        self.tally.events += len(batch)

    def _hear(self, attempt: Attempt, result: dict[str, Any], last: Counter[str]) -> None:
        key, offset = key_of(result), result["offset"]
        before = self._offsets.get(key) or self._told.get(key, offset)
        if offset != before:
            self.tally.doubled += 1
            raise Broken(f"{key} was at offset {before}, and is now said to be at {offset}")
        if result["status"] == "stored":
            if key in self._stored or key in attempt.known:
                self.tally.doubled += 1
                raise Broken(f"{key} is said to be new, but was there")
            if offset <= last[key[0]]:
                raise Broken(f"the offsets of one request do not ascend: {result}")
            last[key[0]] = offset
            self._stored.add(key)
        self._told[key] = offset
        self._unexplained.discard(key)

    def take(self, topic: str, events: Iterable[dict[str, Any]]) -> None:
        """Events that were read behind the last one known of a topic."""
        log = self.log[topic]
        for event in events:
            key = key_of(event)
            if event["offset"] != len(log) + 1:
                raise Broken(f"offset {len(log) + 1} of {topic!r} is missing: {event}")
            if key in self._offsets:
                self.tally.doubled += 1
                raise Broken(f"{key} is stored at {self._offsets[key]} and {event['offset']}")
            log.append(event["event_id"])
            self._offsets[key] = event["offset"]
            if event["payload"] != PAYLOAD:
                self._conflicting[key] = event["payload"]
            if key not in self._told:
                self._unexplained.add(key)

    def compare(self, topic: str, after: int, events: Sequence[dict[str, Any]]) -> None:
        """Events that were read once more, all of them known: they must be as they were."""
        known = self.log[topic][after : after + len(events)]
        if not known:
            self.tally.lost += len(self.log[topic]) - after
            raise Broken(f"{topic!r} had {len(self.log[topic])} events, and ends at {after} now")
        for offset, (event_id, event) in enumerate(zip(known, events, strict=True), after + 1):
            payload = self._conflicting.get((topic, event_id), PAYLOAD)
            found = (event["offset"], event["event_id"], event["source"], event["payload"])
            if found != (offset, event_id, source_of(event_id), payload):
                self.tally.lost += 1
                raise Broken(f"at offset {offset} of {topic!r} was {event_id!r}, now {event}")

    def to_check(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The verdicts not compared with the log so far; take them before reading it."""
        unchecked, self._unchecked = self._unchecked, []
        return unchecked

    def check(self, verdicts: Iterable[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        """Compare verdicts with the log, which was read after they were heard."""
        lost = []
        for event, result in verdicts:
            key = key_of(event)
            if self._offsets.get(key) != result["offset"]:
                lost.append(result)
            elif (result["status"] == "conflict") != self._differs(event):
                raise Broken(f"{event} was told {result}, but what is stored says otherwise")
        if lost:
            gone = {key_of(result) for result in lost}
            self.tally.lost += len(gone)
            raise Broken(
                f"{len(gone)} acknowledged events are not stored where it was told, "
                f"the first: {lost[0]}"
            )

    def judge(self, attempts: Iterable[Attempt]) -> None:
        """Say of requests that got no answer whether they are stored, now that it is settled."""
        for attempt in attempts:
            keys = keys_of(attempt.batch)
            there = keys & self._offsets.keys()
            whole = attempt.own in there
            part = keys - there if whole else there & attempt.fresh
            if part:
                raise Broken(
                    f"of a request of {len(keys)} keys {len(there)} are stored; "
                    f"{'missing' if whole else 'there'}: {sorted(part)[:3]}"
                )
            self.open.discard(attempt)
            if whole:
                self._received.update(event["topic"] for event in attempt.batch)
                self._conflicts.update(e["topic"] for e in attempt.batch if self._differs(e))
                self._stored |= attempt.fresh
                self._unexplained -= keys
                self.tally.whole += 1
            else:
                self.tally.absent += 1
            attempt.whole.set_result(whole)

    def agree(self, key: Key, offset: int | None) -> None:
        """Compare the log with what a look-up of the key gave: an offset or nothing."""
        if self._offsets.get(key) != offset:
            raise Broken(
                f"{key} looked up is at {offset}, but in the log at {self._offsets.get(key)}"
            )

    def settled(self) -> Settled:
        """What an answer of /stats that is asked for from now on must hold at the least."""
        unique = Counter({topic: len(log) for topic, log in self.log.items()})
        return Settled(self._received.copy(), self._conflicts.copy(), unique)

    def check_stats(self, least: Settled, stats: dict[str, Any], *, quiet: bool) -> None:
        """Check an answer of /stats against what was certain before it was asked for.

        Args:
            least: the counts that were settled before the request.
            stats: the answer.
            quiet: nothing was under way since the log was read, so it must be exactly that.
        """
        check_conservation(stats)
        under_way = Counter(event["topic"] for a in self.open for event in a.batch)
        most = self._received + under_way
        for topic in most.keys() | stats["topics"].keys():
            counts = stats["topics"].get(topic, Counter())
            limits = {
                "received": (least.received[topic], most[topic]),
                "conflicts": (least.conflicts[topic], self._conflicts[topic] + under_way[topic]),
                "unique_processed": (least.unique[topic], most[topic]),
            }
            if quiet:
                limits["unique_processed"] = (least.unique[topic], least.unique[topic])
            for name, (low, high) in limits.items():
                if not low <= counts[name] <= high:
                    raise Broken(
                        f"{name} of {topic!r} is {counts[name]}, it must be {low}"
                        + (f" to {high}" if low != high else "")
                    )
        if quiet and self._unexplained:
            raise Broken(
                f"{len(self._unexplained)} events are stored that no request accounts for, "
                f"among them {min(self._unexplained)}"
            )

    def _differs(self, event: dict[str, Any]) -> bool:
        stored = self._conflicting.get(key_of(event), PAYLOAD)
        return bool(event["payload"] != stored)

"""What the aggregator told about the plan's keys, checked as it comes in."""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from publisher.load.content import Content
from publisher.load.findings import DENSE, KNOWN_OFFSETS, OFFSETS_TOLD, VERDICTS, Findings
from publisher.load.plan import NO_MARKER, OTHER_PAYLOAD, STAMPS, Plan
from publisher.load.possible_counts import LostTries
from publisher.response import Outcome, Status, Verdict

_NOT_TOLD = 0


class Unanswered(NamedTuple):
    """The tries of a request that may have been stored, though no answer said so.

    tries: how many. late: how many of them may be stored only after the answer to a later try,
    since the aggregator may still have been at work on them.
    """

    tries: int
    late: int


class KeyWasThere(Exception):
    """A key of the plan was in the log before the run; the message is one sentence."""


class Told:
    """Every verdict of a run.

    heads: the head offset of each topic before the run, in the order of the plan's topics.

    stored, duplicates, conflicts, rejected: how many events were told so.
    """

    def __init__(
        self, plan: Plan, content: Content, heads: Sequence[int], findings: Findings
    ) -> None:
        self.stored = self.duplicates = self.conflicts = self.rejected = 0
        self.requests = self.events = 0
        self._plan = plan
        self._content = content
        self._heads = heads
        self._findings = findings
        self._offsets = array("q", bytes(8 * plan.shape.unique))
        # 1 + the stamp of the event that was told to be stored.
        self._stored_as = bytearray(plan.shape.unique)
        self._lost: dict[int, tuple[int, int]] = {}
        findings.made(VERDICTS)
        findings.made(OFFSETS_TOLD)

    def offset(self, key: int) -> int:
        """Give the offset that was told of a key, 0 if none was."""
        return self._offsets[key]

    def stamps(self, key: int) -> list[int]:
        """Give the stamps that the stored event of a key may have: one, if its answer came."""
        if as_told := self._stored_as[key]:
            return [as_told - 1]
        return [stamp for stamp in range(STAMPS) if self._plan.stamps[key] >> stamp & 1]

    def take(self, request: int, outcomes: Sequence[Outcome], unanswered: Unanswered) -> None:
        """Take in the answer to a request, and which of its tries had none.

        Raises KeyWasThere.
        """
        plan, offsets = self._plan, self._offsets
        stored = 0
        last_new: dict[int, int] = {}
        positions = plan.positions(request)
        for position, outcome in zip(positions, outcomes, strict=True):
            key = plan.keys[position]
            if not isinstance(outcome, Verdict):
                self.rejected += 1
                self._off(VERDICTS, key, f"was rejected ({outcome}), expected a verdict")
                continue
            offset, status = outcome.offset, outcome.status
            topic = plan.topic_of[key]
            if offset <= self._heads[topic]:
                raise KeyWasThere(
                    f"{self._name(key)} was in the log before this run, at offset {offset:,}"
                )
            if not offsets[key]:
                offsets[key] = offset
            elif offsets[key] != offset:
                told = offsets[key]
                self._off(OFFSETS_TOLD, key, f"was told at offset {told:,}, then at {offset:,}")
            self._note_status(position, key, status)
            if status == "stored":
                stored += 1
                if offset <= last_new.get(topic, 0):
                    self._off(
                        OFFSETS_TOLD, key,
                        f"is new at offset {offset:,}, behind one at {last_new[topic]:,} which was "
                        "sent before it in the same request",
                    )  # fmt: skip
                last_new[topic] = offset
        self.requests += 1
        self.events += len(positions)
        self._note_tries(request, positions, outcomes, stored, unanswered)

    def _note_status(self, position: int, key: int, status: Status) -> None:
        if (status == "conflict") != (self._plan.kinds[position] >= OTHER_PAYLOAD):
            expected = "stored or duplicate" if status == "conflict" else "conflict"
            self._off(VERDICTS, key, f"was told {status}, expected {expected}")
        if status == "stored":
            self.stored += 1
            if self._stored_as[key]:
                self._off(VERDICTS, key, "was told stored twice")
            self._stored_as[key] = 1 + position % STAMPS
        elif status == "duplicate":
            self.duplicates += 1
        else:
            self.conflicts += 1

    def _note_tries(
        self,
        request: int,
        positions: range,
        outcomes: Sequence[Outcome],
        stored: int,
        unanswered: Unanswered,
    ) -> None:
        tries, late = unanswered
        marker = self._plan.markers[request]
        # Nobody else sends the marker, so that it was there tells of an earlier try.
        was_there = False
        if marker != NO_MARKER:
            first = self._plan.keys.index(marker, positions.start, positions.stop)
            outcome = outcomes[first - positions.start]
            was_there = isinstance(outcome, Verdict) and outcome.status == "duplicate"
        if was_there and not tries:
            self._off(VERDICTS, marker, "was told duplicate, expected stored: no one else has it")
        if tries:
            # A try that was stored leaves nothing new for a later one.
            self._lost[request] = (0, late) if stored else (int(was_there), tries)

    def lost_tries(self) -> list[tuple[int, int, int]]:
        """Give (request, least, most) of each request with tries that may have been counted."""
        return [(request, least, most) for request, (least, most) in self._lost.items() if most]

    def lost_in(self, topic: int | None, *, conflicts: bool) -> list[LostTries]:
        """Give what the tries without an answer add to a count.

        topic: its number, None for all of them together. conflicts: to the count of conflicts,
        rather than to that of events received.
        """
        plan = self._plan
        lost = []
        for request, least, most in self.lost_tries():
            amount = sum(
                1
                for position in plan.positions(request)
                if (topic is None or plan.topic_of[plan.keys[position]] == topic)
                and (not conflicts or plan.kinds[position] >= OTHER_PAYLOAD)
            )
            lost.append(LostTries(least, most, amount))
        return lost

    def settle(self) -> "list[array[int]]":
        """Check what only the whole run can tell; gives for each topic the keys by their offset.

        Place n of a topic is the key at the offset n + 1 behind the head offset before the run, or
        -1 where no key was told to be. To be called when every request has its answer.
        """
        plan, findings = self._plan, self._findings
        findings.made(DENSE)
        excused = {
            plan.keys[position]
            for request, _, _ in self.lost_tries()
            for position in plan.positions(request)
        }
        key_at = [array("q", [-1]) * unique for unique in plan.unique_of]
        ranks = [0] * len(key_at)
        alone = plan.shape.concurrency == 1
        if alone:
            findings.made(KNOWN_OFFSETS)
        for key, topic in enumerate(plan.topic_of):
            if not self._stored_as[key] and key not in excused:
                self._off(VERDICTS, key, "was never told stored, and no try of it lost its answer")
            ranks[topic] += 1
            offset, head = self._offsets[key], self._heads[topic]
            place = offset - head - 1
            if offset == _NOT_TOLD:
                self._off(DENSE, key, "was told no offset")
            elif place >= len(key_at[topic]):
                last = head + len(key_at[topic])
                self._off(DENSE, key, f"was told at offset {offset:,}, expected {last:,} at most")
            elif (other := key_at[topic][place]) != -1:
                self._off(DENSE, key, f"was told at {offset:,}, as {self._name(other)} was")
            else:
                key_at[topic][place] = key
            if alone and offset != head + ranks[topic]:
                known = head + ranks[topic]
                self._off(KNOWN_OFFSETS, key, f"is at offset {offset:,}, expected {known:,}")
        return key_at

    def _name(self, key: int) -> str:
        return f"event {self._content.event_id(key)!r} of topic {self._content.topic(key)!r}"

    def _off(self, check: str, key: int, sentence: str) -> None:
        self._findings.differs(check, f"{self._name(key)} {sentence}")

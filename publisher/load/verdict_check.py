"""The check of every verdict of a run against the plan, response by response and at the end."""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from publisher.load.content import Content
from publisher.load.findings import DENSE, KNOWN_OFFSETS, OFFSETS_TOLD, VERDICTS, Findings
from publisher.load.plan import NO_MARKER, OTHER_PAYLOAD, STAMPS, Plan
from publisher.load.possible_counts import LostAttempts
from publisher.response import Outcome, Status, Verdict

_NO_OFFSET = 0


class UnansweredAttempts(NamedTuple):
    """The attempts of a request that had no response and may have been stored.

    Args:
        attempts: the number of them.
        late: the number of those that may be stored only after the response to a later attempt,
            since the aggregator may still have been at work on them.
    """

    attempts: int
    late: int


class KeyAlreadyStored(Exception):
    """A key of the plan was in the log before the run; the message is one sentence."""


class VerdictCheck:
    """Collects and checks every verdict of a run.

    `stored`, `duplicates`, `conflicts` and `rejected` are the numbers of events with that outcome,
    `requests` and `events` those that have a response.

    Args:
        plan: the plan that is sent.
        content: the content of its events.
        heads: the head offset of each topic before the run, in the order of the plan's topics.
        findings: the differences.
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
        # 1 + the stamp of the event with the verdict `stored`.
        self._stored_stamps = bytearray(plan.shape.unique)
        self._lost: dict[int, tuple[int, int]] = {}
        findings.start(VERDICTS)
        findings.start(OFFSETS_TOLD)

    @property
    def acknowledged(self) -> int:
        """The number of events that have a verdict, and so are counted."""
        return self.events - self.rejected

    def offset(self, key: int) -> int:
        """Return the offset in the verdicts of a key, 0 without any."""
        return self._offsets[key]

    def stamps(self, key: int) -> list[int]:
        """Return the stamps that the stored event of a key may have: one, if its response came."""
        if stored := self._stored_stamps[key]:
            return [stored - 1]
        return [stamp for stamp in range(STAMPS) if self._plan.stamps[key] >> stamp & 1]

    def check_response(
        self, request: int, outcomes: Sequence[Outcome], unanswered: UnansweredAttempts
    ) -> None:
        """Check the response to a request.

        Args:
            request: the number of the request.
            outcomes: one outcome for each of its events, in order.
            unanswered: its earlier attempts that had no response.

        Raises:
            KeyAlreadyStored: a verdict shows that a key was stored before the run.
        """
        plan = self._plan
        stored = 0
        last_new: dict[int, int] = {}
        positions = plan.positions(request)
        for position, outcome in zip(positions, outcomes, strict=True):
            key = plan.keys[position]
            if not isinstance(outcome, Verdict):
                self.rejected += 1
                self._add(VERDICTS, key, f"was rejected ({outcome}), expected a verdict")
                continue
            if outcome.offset:  # of a conflict it may not be told
                self._check_offset(key, outcome.offset)
            self._check_status(position, key, outcome.status)
            if outcome.status == "stored":
                stored += 1
                self._check_ascends(key, outcome.offset, last_new)
        self.requests += 1
        self.events += len(positions)
        self._record_lost(request, positions, outcomes, stored, unanswered)

    def _check_offset(self, key: int, offset: int) -> None:
        if offset <= self._heads[self._plan.topic_of[key]]:
            raise KeyAlreadyStored(
                f"{self._name(key)} was in the log before this run, at offset {offset:,}"
            )
        known = self._offsets[key]
        if not known:
            self._offsets[key] = offset
        elif known != offset:
            self._add(OFFSETS_TOLD, key, f"got offset {known:,}, then {offset:,}")

    def _check_status(self, position: int, key: int, status: Status) -> None:
        if (status == "conflict") != (self._plan.kinds[position] >= OTHER_PAYLOAD):
            expected = "stored or duplicate" if status == "conflict" else "conflict"
            self._add(VERDICTS, key, f"got {status}, expected {expected}")
        if status == "stored":
            self.stored += 1
            if self._stored_stamps[key]:
                self._add(VERDICTS, key, "got stored twice")
            self._stored_stamps[key] = 1 + position % STAMPS
        elif status == "duplicate":
            self.duplicates += 1
        else:
            self.conflicts += 1

    def _check_ascends(self, key: int, offset: int, last_new: dict[int, int]) -> None:
        topic = self._plan.topic_of[key]
        if offset <= last_new.get(topic, 0):
            self._add(
                OFFSETS_TOLD,
                key,
                f"is new at offset {offset:,}, behind one at {last_new[topic]:,} which was "
                "sent before it in the same request",
            )
        last_new[topic] = offset

    def _record_lost(
        self,
        request: int,
        positions: range,
        outcomes: Sequence[Outcome],
        stored: int,
        unanswered: UnansweredAttempts,
    ) -> None:
        attempts, late = unanswered
        marker = self._plan.markers[request]
        # No other request has the marker, so a duplicate of it proves an earlier attempt.
        was_stored = False
        if marker != NO_MARKER:
            first = self._plan.keys.index(marker, positions.start, positions.stop)
            outcome = outcomes[first - positions.start]
            was_stored = isinstance(outcome, Verdict) and outcome.status == "duplicate"
        if was_stored and not attempts:
            self._add(VERDICTS, marker, "got duplicate, expected stored: it is in no other request")
        if attempts:
            # An attempt that was stored leaves nothing new for a later one.
            self._lost[request] = (0, late) if stored else (int(was_stored), attempts)

    def lost_attempts(self) -> list[tuple[int, int, int]]:
        """Return the requests with attempts that may have been counted without a response.

        Returns:
            For each of them its number, and the least and the greatest number of such attempts.
        """
        return [
            (request, min_counted, max_counted)
            for request, (min_counted, max_counted) in self._lost.items()
            if max_counted
        ]

    def lost_counts(self, topic: int | None, *, conflicts: bool) -> list[LostAttempts]:
        """Return what the attempts without a response may add to a count.

        Args:
            topic: the number of a topic, None for all of them together.
            conflicts: the count of conflicts, rather than that of events received.
        """
        plan = self._plan
        lost = []
        for request, min_counted, max_counted in self.lost_attempts():
            amount = sum(
                1
                for position in plan.positions(request)
                if (topic is None or plan.topic_of[plan.keys[position]] == topic)
                and (not conflicts or plan.kinds[position] >= OTHER_PAYLOAD)
            )
            lost.append(LostAttempts(min_counted, max_counted, amount))
        return lost

    def finish(self) -> "list[array[int]]":
        """Make the checks that need the whole run; called when every request has its response.

        Returns:
            For each topic its keys by their offsets: place n is the key at the offset n + 1 behind
            the head offset before the run, or -1 where no verdict has that offset.
        """
        plan, findings = self._plan, self._findings
        findings.start(DENSE)
        excused = {
            plan.keys[position]
            for request, _, _ in self.lost_attempts()
            for position in plan.positions(request)
        }
        key_at = [array("q", [-1]) * unique for unique in plan.unique_of]
        ranks = [0] * len(key_at)
        one_connection = plan.shape.concurrency == 1
        if one_connection:
            findings.start(KNOWN_OFFSETS)
        for key, topic in enumerate(plan.topic_of):
            if not self._stored_stamps[key] and key not in excused:
                self._add(VERDICTS, key, "never got stored, though every try of it was answered")
            ranks[topic] += 1
            self._place(key, topic, key_at[topic])
            offset, known = self._offsets[key], self._heads[topic] + ranks[topic]
            if one_connection and offset != known:
                self._add(KNOWN_OFFSETS, key, f"is at offset {offset:,}, expected {known:,}")
        return key_at

    def _place(self, key: int, topic: int, key_at: "array[int]") -> None:
        """Enter a key at its offset, and check that the offset is in range and free."""
        offset, head = self._offsets[key], self._heads[topic]
        place = offset - head - 1
        if offset == _NO_OFFSET:
            self._add(DENSE, key, "got no offset")
        elif place >= len(key_at):
            last = head + len(key_at)
            self._add(DENSE, key, f"got offset {offset:,}, expected {last:,} at most")
        elif (other := key_at[place]) != -1:
            self._add(DENSE, key, f"got offset {offset:,}, as {self._name(other)} did")
        else:
            key_at[place] = key

    def _name(self, key: int) -> str:
        return f"event {self._content.event_id(key)!r} of topic {self._content.topic(key)!r}"

    def _add(self, check: str, key: int, sentence: str) -> None:
        self._findings.add(check, f"{self._name(key)} {sentence}")

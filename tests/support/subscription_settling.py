"""Settles held against the model of a subscription.

Numbers in brackets are those of the sentences of docs/use/subscriptions.md.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from storage.subscriptions.commands import Death, Range, Retry, Settle
from storage.subscriptions.outcomes import Outcome, Refusal, Settled
from support.subscription_model import (
    MS,
    DoneSettle,
    EventRecord,
    Fate,
    SubscriptionRecord,
)

DAY_US = 86_400 * 10**6
Place = tuple[str, int]
"""A topic and an offset."""


def judge_settle(
    record: SubscriptionRecord, command: Settle, outcome: Outcome | None, times: tuple[int, int]
) -> bool:
    """Check the outcome of a settle, and have the model settle; return whether it is done.

    Args:
        record: the model; its subscription exists.
        command: the settle.
        outcome: what was answered; None: nothing was, and the model is to settle if it may.
        times: between which microseconds it was done.
    """
    return SettleJudge(record, command).run(outcome, times)


class SettleJudge:
    """A settle, and what must become of it."""

    def __init__(self, record: SubscriptionRecord, command: Settle) -> None:
        self.record = record
        self.command = command
        self.lease = record.leases.get(command.token.lease)
        if command.token.subscription != record.id:
            self.lease = None
        self.extents = {name: (first, last) for name, first, last in command.token.extents}

    def run(self, outcome: Outcome | None, times: tuple[int, int]) -> bool:
        """Check the answer, and settle; return whether it is done."""
        if isinstance(outcome, Settled):
            times = outcome.now_us, outcome.now_us
        must, may = self.refusals(times)
        repeated, forgotten = self.repeated(times)
        if repeated is not None:
            must = set()
            may = {"lease_lost"} if forgotten else set()
        if outcome is None and must:
            return False
        if isinstance(outcome, Refusal):
            assert outcome.reason in must | may, f"{outcome}, but {must} or {may} [34]"
            return False
        assert not must, f"{outcome}, but it is to be refused: {must} [34]"
        at_us = times[1]
        counts = repeated.counts if repeated is not None else self.settle(at_us)
        if self.command.extend_ms is not None and self.lease is not None:
            until_us = at_us + self.command.extend_ms * MS
            if any(self.record.held(self.lease)):
                self.lease.until_us = max(self.lease.until_us, until_us)
        if repeated is None:
            self.keep(at_us, counts)
        if outcome is not None:
            assert isinstance(outcome, Settled), outcome
            told = outcome.acknowledged, outcome.retried, outcome.dead, outcome.released
            assert told == counts, f"acknowledged, retried, dead, released: {told}, not {counts}"
            self.check_end(outcome)
        return True

    def check_end(self, outcome: Settled) -> None:
        """When the rest runs out, and whether the subscription is paused [27], [40]."""
        lease = self.lease
        rest = lease is not None and any(self.record.held(lease))
        expires_us = lease.until_us if lease is not None and rest else None
        assert outcome.expires_us == expires_us, f"{outcome} ends at {expires_us}"
        if outcome.paused:
            assert self.record.paused is not False, f"{outcome} is not paused"

    def refusals(self, times: tuple[int, int]) -> tuple[set[str], set[str]]:
        """Why it must be refused, and why it may be."""
        first_us, last_us = times
        must, may = set[str](), set[str]()
        if self.breaks_a_rule():
            must.add("invalid")
        # With both, either is an answer.
        if not self.record.is_open(self.lease, first_us):
            must.add("lease_lost")
        elif not self.record.is_open(self.lease, last_us):
            may.add("lease_lost")
        else:
            lost = {self.is_lost(place, spans) for place, spans in self.named()}
            if True in lost:
                must.add("lease_lost")
            elif None in lost:
                may.add("lease_lost")
        return must, may

    def named(self) -> Iterable[tuple[Place, bool]]:
        """Each event that is named, and whether it is by a range."""
        command = self.command
        for place in [*places(command.ack), *places(command.release)]:
            yield place, True
        for retry in command.retry:
            yield (retry.topic, retry.offset), False
        for death in command.dead:
            yield (death.topic, death.offset), False

    def breaks_a_rule(self) -> bool:
        """Whether it goes beyond the lease, names twice, or settles behind a retry [30], [34]."""
        command = self.command
        named = Counter(place for place, _ in self.named())
        if any(times > 1 for times in named.values()):
            return True
        if any(first > last for _, first, last in [*command.ack, *command.release]):
            return True
        for topic, offset in named:
            first, last = self.extents.get(topic, (1, 0))
            if not first <= offset <= last:
                return True
        if not self.record.keeps_order:
            return False
        behind = [*places(command.ack), *((each.topic, each.offset) for each in command.dead)]
        return any(each.topic == t and each.offset < o for each in command.retry for t, o in behind)

    def is_lost(self, place: Place, spans: bool) -> bool | None:
        """Whether an event is not held, and may not be passed by a range; None: left open [28]."""
        name, offset = place
        if name not in self.record.topics:
            return True
        topic = self.record.topic(name)
        if offset > self.record.log.head(name):
            return True
        if offset <= topic.start:
            # Behind a seek: passed, if one likes.
            return None if spans else True
        event = topic.event(offset)
        if event.lease is not None and event.lease is self.lease:
            return False
        return not (spans and event.fate.is_settled)

    def repeated(self, times: tuple[int, int]) -> tuple[DoneSettle | None, bool]:
        """The same settle as it was done, if it was, and whether it may be forgotten [35]."""
        if not self.command.digest or self.lease is None:
            return None, False
        done = self.record.done.get((self.lease.id, self.command.digest))
        if done is None:
            return None, False
        if self.record.is_open(self.lease, times[1]):
            return done, False
        if self.record.is_open(self.lease, times[0]):
            return done, True
        if any(self.record.held(self.lease)) or not self.was_ended():
            return None, False  # It has run out, or was lost.
        is_last = self.record.last_ended.get(done.consumer) == self.lease.id
        return done, not is_last or times[1] - done.at_us >= DAY_US

    def was_ended(self) -> bool:
        """Whether a settle has ended the lease."""
        return self.lease is not None and self.lease.ended

    def settle(self, now_us: int) -> tuple[int, int, int, int]:
        """Have the model settle; return the answer's counts."""
        record, command, lease = self.record, self.command, self.lease
        assert lease is not None
        acks = [event for _, event in self.held(command.ack)]
        for event in acks:
            event.end(Fate.ACKNOWLEDGED)
        died = sum(self.retry(each, now_us) for each in command.retry)
        for each in command.dead:
            self.bury(each, now_us)
        behind = list(self.also_released())
        released = [*self.held(command.release), *behind]
        for name, event in released:
            record.topic(name).redelivered -= event.deliveries > 1
            event.deliveries -= 1
            event.wait(0, event.limits | {0})
        if command.trims:
            lease.size = sum(1 for _ in record.held(lease))
        dead = died + len(command.dead)
        self.count_dead(len(acks), dead)
        return len(acks), len(command.retry) - died, dead, len(released)

    def retry(self, retry: Retry, now_us: int) -> bool:
        """Hand an event back; whether that is its death [23], [29]."""
        event = self.record.topic(retry.topic).event(retry.offset)
        assert self.lease is not None
        if retry.error is not None:
            event.errors.append(retry.error)
        if self.lease.size == 1 and event.deliveries >= self.record.settings.max_deliveries:
            event.end(Fate.DEAD, now_us)
            return True
        own_us = None if retry.after_ms is None else retry.after_ms * MS
        wait_us = self.record.backoff_us(event.deliveries) if own_us is None else own_us
        event.wait(now_us + wait_us, event.limits | {0})
        return False

    def bury(self, death: Death, now_us: int) -> None:
        """Make an event a dead letter [32]."""
        event = self.record.topic(death.topic).event(death.offset)
        if death.error is not None:
            event.errors.append(death.error)
        event.end(Fate.DEAD, now_us)

    def held(self, ranges: Sequence[Range]) -> list[tuple[str, EventRecord]]:
        """The topics and events of ranges that the lease has."""
        assert self.lease is not None
        named = set(places(ranges))
        return [
            (n, event) for n, offset, event in self.record.held(self.lease) if (n, offset) in named
        ]

    def also_released(self) -> Iterable[tuple[str, EventRecord]]:
        """What the lease still has behind an event that is retried, where order is kept [30].

        Or all that it still has, where the rest is to be released.
        """
        assert self.lease is not None
        command, named = self.command, set(places(self.command.release))
        retries = command.retry if self.record.keeps_order else ()
        for name, offset, event in list(self.record.held(self.lease)):
            behind = any(each.topic == name and each.offset < offset for each in retries)
            if (behind or command.release_rest) and (name, offset) not in named:
                yield name, event

    def count_dead(self, acks: int, dead: int) -> None:
        """Count the dead in a row: the acks first [40]."""
        in_row = {dead} if acks else {each + dead for each in self.record.dead_in_row}
        if self.command.ack:
            # Whether to acknowledge what is acknowledged counts is left open.
            in_row |= {dead}
        if dead:
            self.record.note_dead(in_row)
        self.record.dead_in_row = in_row

    def keep(self, now_us: int, counts: tuple[int, int, int, int]) -> None:
        """Remember it, as far as the same may come again [35]."""
        record, command, lease = self.record, self.command, self.lease
        assert lease is not None
        if not any(record.held(lease)):
            lease.ended = True
        if command.digest:
            done = DoneSettle(now_us, command.token.consumer, counts)
            record.done[lease.id, command.digest] = done
            if lease.ended:
                record.last_ended[command.token.consumer] = lease.id


def places(ranges: Iterable[Range]) -> Iterable[Place]:
    """Each event of some ranges."""
    for topic, first, last in ranges:
        for offset in range(first, last + 1):
            yield topic, offset

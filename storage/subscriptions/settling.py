"""Settles: what a consumer says of the events that it holds.

A settle is checked as a whole against what its lease holds, then done as a whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from storage.subscriptions.commands import Death, Retry, Settle
from storage.subscriptions.deliveries import backoff_us, is_dead
from storage.subscriptions.model import Order, SubscriptionSettings, TopicState, Unsettled
from storage.subscriptions.ranges import count, cut, merged


class SettleRefused(Exception):
    """A settle that can't be done; its message is one sentence for the consumer.

    Args:
        reason: as in `storage.subscriptions.commands.Refusal`.
        message: the sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(slots=True)
class Failed:
    """An event that failed, as a settle has it.

    Attributes:
        offset: the event.
        deliveries: how often it was handed out.
        error: why, if that was said.
        dead: whether it is dead.
    """

    offset: int
    deliveries: int
    error: str | None
    dead: bool


@dataclass(slots=True)
class TopicSettled:
    """What a settle does to one topic.

    Attributes:
        state: as it is then.
        forgotten: ranges of offsets of which no failure is to be kept any more.
        failed: events that failed.
        acknowledged, retried, dead, released: numbers of events.
        not_redelivered: of those released, events that were handed out before.
    """

    state: TopicState
    forgotten: list[tuple[int, int]] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    acknowledged: int = 0
    retried: int = 0
    dead: int = 0
    released: int = 0
    not_redelivered: int = 0


class _Named(NamedTuple):
    """What a settle names of one topic."""

    ack: Sequence[tuple[int, int]]
    retry: Sequence[Retry]
    dead: Sequence[Death]
    release: Sequence[tuple[int, int]]

    def intervals(self) -> Iterator[tuple[int, int]]:
        """Yield the first and the last offset of all that is named."""
        yield from self.ack
        yield from self.release
        yield from ((each.offset, each.offset) for each in self.retry)
        yield from ((each.offset, each.offset) for each in self.dead)


_NOTHING = _Named((), (), (), ())


def settle_topics(
    command: Settle,
    states: Mapping[str, TopicState],
    settings: SubscriptionSettings,
    now_us: int,
) -> dict[str, TopicSettled]:
    """Do a settle whose lease is open.

    Args:
        command: the settle.
        states: of the topics of its lease.
        settings: of the subscription.
        now_us: the time.

    Returns:
        What it does to each topic of its lease that it names.

    Raises:
        SettleRefused: it names what its lease does not hold, or breaks a rule.
    """
    extents = {topic: (first, last) for topic, first, last in command.token.extents}
    named = _by_topic(command)
    if command.release_rest:
        named |= {topic: _NOTHING for topic in extents if topic not in named}
    for topic, of_topic in named.items():
        if topic not in extents:
            raise SettleRefused("invalid", f"the lease has no events of the topic {topic!r}")
        _check_named(topic, of_topic, extents[topic], settings)
    lease = command.token.lease
    rest = 0 if command.release_rest else None
    return {
        topic: _settle(topic, states[topic], of_topic, lease, settings, now_us, rest)
        for topic, of_topic in named.items()
    }


def _by_topic(command: Settle) -> dict[str, _Named]:
    named: dict[str, tuple[list[tuple[int, int]], list[Retry], list[Death], list[tuple[int, int]]]]
    named = {}
    for topic, first, last in command.ack:
        named.setdefault(topic, ([], [], [], []))[0].append((first, last))
    for retry in command.retry:
        named.setdefault(retry.topic, ([], [], [], []))[1].append(retry)
    for death in command.dead:
        named.setdefault(death.topic, ([], [], [], []))[2].append(death)
    for topic, first, last in command.release:
        named.setdefault(topic, ([], [], [], []))[3].append((first, last))
    return {topic: _Named(*parts) for topic, parts in named.items()}


def _check_named(
    topic: str, named: _Named, extent: tuple[int, int], settings: SubscriptionSettings
) -> None:
    intervals = sorted(named.intervals())
    for first, last in intervals:
        if first > last:
            raise SettleRefused(
                "invalid",
                f"the range {first} to {last} of the topic {topic!r} has no offset",
            )
        if first < extent[0] or last > extent[1]:
            outside = first if first < extent[0] else last
            raise SettleRefused(
                "invalid",
                f"offset {outside} of the topic {topic!r} is beyond the lease, which has "
                f"{extent[0]} to {extent[1]} of it",
            )
    for (_, before), (after, _) in pairwise(intervals):
        if after <= before:
            raise SettleRefused("invalid", f"offset {after} of the topic {topic!r} is named twice")
    if settings.order is Order.TOPIC and named.retry:
        retried = min(each.offset for each in named.retry)
        behind = [last for _, last in named.ack if last > retried]
        behind += [each.offset for each in named.dead if each.offset > retried]
        if behind:
            raise SettleRefused(
                "invalid",
                f"offset {max(behind)} of the topic {topic!r} can't be settled behind offset "
                f"{retried}, which is to be retried: the order of the topic is kept",
            )


def _settle(
    topic: str,
    state: TopicState,
    named: _Named,
    lease: str,
    settings: SubscriptionSettings,
    now_us: int,
    release_behind: int | None,
) -> TopicSettled:
    done = TopicSettled(state)
    ranges: Sequence[Unsettled] = state.ranges
    for first, last in named.ack:
        below, inside, above = cut(ranges, first, last)
        _check_held(topic, inside, lease)
        done.acknowledged += count(inside)
        # Not the whole range: it may span dead letters.
        done.forgotten.extend((each.first, each.last) for each in inside if each.failed)
        ranges = [*below, *above]
    for death in named.dead:
        below, held, above = _one(topic, ranges, death.offset, lease)
        done.failed.append(Failed(death.offset, held.deliveries, death.error, dead=True))
        done.dead += 1
        ranges = [*below, *above]
    for retry in named.retry:
        below, held, above = _one(topic, ranges, retry.offset, lease)
        dead = is_dead(held, settings)
        if dead or retry.error is not None:
            done.failed.append(Failed(retry.offset, held.deliveries, retry.error, dead=dead))
        if dead:
            done.dead += 1
            ranges = [*below, *above]
            continue
        done.retried += 1
        wait_us = (
            backoff_us(settings, held.deliveries)
            if retry.after_ms is None
            else retry.after_ms * 1000
        )
        failed = held.failed or retry.error is not None
        waiting = Unsettled(held.first, held.last, held.deliveries, now_us + wait_us, "", 0, failed)
        ranges = [*below, waiting, *above]
    for first, last in named.release:
        below, inside, above = cut(ranges, first, last)
        _check_held(topic, inside, lease)
        ranges = [*below, *_released(inside, done, now_us), *above]
    if settings.order is Order.TOPIC and named.retry:
        behind = min(each.offset for each in named.retry)
        release_behind = behind if release_behind is None else release_behind
    if release_behind is not None:
        ranges = [
            released
            for each in ranges
            for released in (
                _released([each], done, now_us)
                if each.lease == lease and each.first > release_behind
                else [each]
            )
        ]
    done.state = TopicState(
        state.start,
        state.next_offset,
        state.acknowledged + done.acknowledged,
        state.dead + done.dead,
        state.redelivered - done.not_redelivered,
        merged(ranges),
    )
    return done


def _one(
    topic: str, ranges: Sequence[Unsettled], offset: int, lease: str
) -> tuple[list[Unsettled], Unsettled, list[Unsettled]]:
    below, inside, above = cut(ranges, offset, offset)
    if not inside:
        raise SettleRefused(
            "lease_lost", f"offset {offset} of the topic {topic!r} is settled already"
        )
    _check_held(topic, inside, lease)
    return below, inside[0], above


def _check_held(topic: str, ranges: Sequence[Unsettled], lease: str) -> None:
    for each in ranges:
        if each.lease != lease:
            raise SettleRefused(
                "lease_lost",
                f"offset {each.first} of the topic {topic!r} is not held by the lease: it was "
                "handed back",
            )


def _released(ranges: Sequence[Unsettled], done: TopicSettled, now_us: int) -> list[Unsettled]:
    """Hand ranges back as if this delivery had not been."""
    done.released += count(ranges)
    done.not_redelivered += count(each for each in ranges if each.deliveries > 1)
    return [
        Unsettled(each.first, each.last, each.deliveries - 1, now_us, "", 0, each.failed)
        for each in ranges
    ]

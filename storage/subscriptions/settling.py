"""Settles: what a consumer says of the events that it holds.

A settle is checked as a whole against what its lease holds, then done as a whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from storage.subscriptions.commands import Death, Retry, Settle
from storage.subscriptions.model import Order, SubscriptionSettings, TopicState
from storage.subscriptions.sweep import ACK, RELEASE, Action, SettleRefused, Sweep, TopicSettled


class _Named(NamedTuple):
    """What a settle names of one topic."""

    ack: Sequence[tuple[int, int]]
    retry: Sequence[Retry]
    dead: Sequence[Death]
    release: Sequence[tuple[int, int]]

    def intervals(self) -> Iterator[tuple[int, int]]:
        """Yield the first and the last offset of all that is named."""
        yield from ((each.first, each.last) for each in self.actions())

    def actions(self) -> Iterator[Action]:
        """Yield all that is named."""
        yield from (Action(first, last, ACK) for first, last in self.ack)
        yield from (Action(first, last, RELEASE) for first, last in self.release)
        yield from (Action(each.offset, each.offset, each) for each in self.retry)
        yield from (Action(each.offset, each.offset, each) for each in self.dead)


_first = attrgetter("first")

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
    sweep = Sweep(topic, state, lease, settings, now_us)
    sweep.over(sorted(named.actions(), key=_first))
    if settings.order is Order.TOPIC and named.retry:
        behind = min(each.offset for each in named.retry)
        release_behind = behind if release_behind is None else release_behind
    if release_behind is not None:
        sweep.release_behind(release_behind)
    return sweep.settled()

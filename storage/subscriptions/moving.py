"""Moves of a subscription's place that no consumer makes: changed topics, seeks, dead letters."""

from collections.abc import Mapping, Sequence
from itertools import groupby

import msgspec

from storage.subscriptions.commands import Change
from storage.subscriptions.model import (
    Beginning,
    Subscription,
    SubscriptionSettings,
    TopicState,
    Unsettled,
)
from storage.subscriptions.outcomes import Sought
from storage.subscriptions.ranges import count, cut, merged
from storage.topic_patterns import TopicSelection

_SHOWN = 100
"""Characters of a value that an error shows."""

_CHANGEABLE = (
    "topics",
    "source",
    "lease_ms",
    "max_deliveries",
    "backoff_ms",
    "on_dead",
    "stop_after_dead",
    "max_leased",
)


def changed_settings(settings: SubscriptionSettings, change: Change) -> SubscriptionSettings:
    """Return settings with those that a change sets."""
    given = {name: getattr(change, name) for name in _CHANGEABLE}
    return msgspec.structs.replace(
        settings, **{name: value for name, value in given.items() if value is not msgspec.UNSET}
    )


def differing(one: SubscriptionSettings, other: SubscriptionSettings) -> list[str]:
    """Name the settings in which two differ, as a request names them, with their values."""
    names = ["from" if name == "begins" else name for name in one.__struct_fields__]
    pairs = zip(names, msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)
    return [
        f"{name} is {_shown(ours)}, not {_shown(theirs)}"
        for name, ours, theirs in pairs
        if ours != theirs
    ]


def _shown(value: object) -> str:
    if isinstance(value, Beginning):
        value = value.at or ({"since": value.since} if value.since else {"offsets": value.offsets})
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def changed_topics(
    subscription: Subscription,
    change: Change,
    states: Mapping[str, TopicState],
) -> dict[str, TopicState | None]:
    """Return the states of topics that join or go with other topics in the settings.

    Args:
        subscription: as it is before.
        change: with `topics` and `heads`.
        states: all that are kept.

    Returns:
        By topic: its beginning at its head, or None if it is not selected any more.
    """
    if change.topics is msgspec.UNSET:
        return {}
    former, wanted = TopicSelection(subscription.settings.topics), TopicSelection(change.topics)
    changed: dict[str, TopicState | None] = {
        topic: None for topic in states if not wanted.matches(topic)
    }
    for topic, head in change.heads.items():
        if topic not in states and wanted.matches(topic) and not former.matches(topic):
            changed[topic] = TopicState(head, head)
    return changed


def sought(state: TopicState, head: int, start: int) -> Sought:
    """Count what a move of a topic's start would do.

    Args:
        state: as it is.
        head: the head offset.
        start: the new start, at most the head.
    """
    to_come = state.unsettled + max(0, head - state.next_offset)
    below, inside, _ = cut(state.ranges, start, start)
    skipped = count(below) + count(inside) + max(0, start - state.next_offset)
    return Sought(again=head - start - (to_come - skipped), skipped=skipped)


def revived(state: TopicState, offsets: Sequence[int], now_us: int) -> TopicState:
    """Return a state in which dead letters wait again, as if they had never been handed out.

    Args:
        state: as it is.
        offsets: of the dead letters, ascending.
        now_us: the time.
    """
    waiting: list[Unsettled] = []
    for _, run in groupby(enumerate(offsets), key=lambda pair: pair[1] - pair[0]):
        together = [offset for _, offset in run]
        waiting.append(Unsettled(together[0], together[-1], 0, now_us))
    ranges = sorted([*state.ranges, *waiting], key=lambda each: each.first)
    return TopicState(
        state.start,
        state.next_offset,
        state.acknowledged,
        state.dead - len(offsets),
        state.redelivered,
        merged(ranges),
    )


def dropped(state: TopicState) -> TopicState:
    """Return a state in which one dead letter is acknowledged."""
    return TopicState(
        state.start,
        state.next_offset,
        state.acknowledged + 1,
        state.dead - 1,
        state.redelivered,
        state.ranges,
    )

"""Beginnings: the offset of each topic behind which a subscription begins, or is moved to."""

from collections.abc import Mapping

from storage.subscriptions.model import Beginning
from storage.topic_patterns import TopicSelection
from subscriber.testing.log import EventLog
from subscriber.testing.rules import (
    MAX_OFFSET,
    refuse,
    shown,
    topic_rule_broken,
    whole_number,
)
from subscriber.testing.times import is_duration, parse_since, render_time


def parse_beginning(field: str, value: object, now_us: int) -> Beginning:
    """Parse where a subscription begins.

    Args:
        field: its name in the request.
        value: `"start"`, `"now"`, `{"since": TIME}` or `{"offsets": {TOPIC: OFFSET}}`.
        now_us: the time.

    Raises:
        SubscriptionRefused: it breaks a rule.
    """
    if value in ("start", "now"):
        return Beginning(at=str(value))
    if not isinstance(value, Mapping) or value.keys() not in ({"since"}, {"offsets"}):
        forms = '"start", "now", {"since": TIME} or {"offsets": {TOPIC: OFFSET}}'
        refuse(f"{field} must be {forms}, not {shown(value)}")
    if "since" in value:
        return Beginning(since=_since(f"{field}.since", value["since"], now_us))
    return Beginning(offsets=_offsets(f"{field}.offsets", value["offsets"]))


def starts(
    log: EventLog, begins: Beginning, selection: TopicSelection, now_us: int
) -> Mapping[str, int]:
    """Find the offset of each topic behind which a subscription begins; 0 where none is named.

    Args:
        log: its events.
        begins: where it begins.
        selection: its topics.
        now_us: the time.

    Raises:
        SubscriptionRefused: an offset is above the head, or of a topic that is not selected.
    """
    if begins.offsets is not None:
        _check(log, begins.offsets, selection)
        return begins.offsets
    heads = log.heads(selection)
    if begins.since is not None:
        since_us = parse_since(begins.since, now_us)
        return {topic: log.first_offset(topic, since_us) - 1 for topic in heads}
    return heads if begins.at == "now" else dict.fromkeys(heads, 0)


def _since(field: str, value: object, now_us: int) -> str:
    if not isinstance(value, str):
        refuse(f"{field} must be a string, not {shown(value)}")
    try:
        time_us = parse_since(value, now_us)
        return value if is_duration(value) else render_time(time_us)
    except ValueError as error:
        refuse(f"{field} {shown(value)} {error}")


def _offsets(field: str, value: object) -> Mapping[str, int]:
    if not isinstance(value, Mapping):
        refuse(f"{field} must be an object, not {shown(value)}")
    for topic, offset in value.items():
        if broken := topic_rule_broken(topic):
            refuse(f"{field} names a topic that {broken}")
        whole_number(f"{field} of {topic}", offset, 0, MAX_OFFSET)
    return dict(value)


def _check(log: EventLog, offsets: Mapping[str, int], selection: TopicSelection) -> None:
    for topic, offset in offsets.items():
        if not selection.matches(topic):
            refuse(f"from.offsets names {topic!r}, which is not one of the subscription's topics")
        if offset > log.head(topic):
            head = log.head(topic)
            refuse(f"from.offsets has {offset} for {topic!r}, above its head, {head}")

"""The entries of requests that name events: ranges, and single events with more about them."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from aggregator.wire.event_rules import topic_rule_broken
from aggregator.wire.json_fields import FieldCheck, kind_of_value, number_rule_broken
from storage.model import INT64_MAX
from storage.subscriptions.commands import Range

MAX_ENTRIES = 10_000
"""Entries of one request at most."""

Offset = Annotated[int, Meta(ge=1, le=INT64_MAX)]

_RANGE_MEMBERS = 3


def parse_ranges(check: FieldCheck, name: str) -> list[Range]:
    """Parse an array of ranges: topic, first and last offset.

    Args:
        check: of the object that it is a member of; rules that are broken are recorded there.
        name: of the member.

    Returns:
        The ranges that break no rule.
    """
    ranges: list[Range] = []
    for index, entry in enumerate(check.array(name)):
        if not isinstance(entry, list) or len(entry) != _RANGE_MEMBERS:
            check.add_error_at(
                index, name, "must be [TOPIC, FIRST, LAST]: a topic and two offsets of it"
            )
            continue
        topic, first, last = entry
        broken = (
            _topic_rule_broken(topic)
            or number_rule_broken(first, 1, INT64_MAX)
            or number_rule_broken(last, 1, INT64_MAX)
        )
        if broken:
            check.add_error_at(index, name, broken)
        elif first > last:
            check.add_error_at(index, name, f"ends at {last}, before it begins at {first}")
        else:
            ranges.append((topic, first, last))
    return ranges


def read_entries(
    check: FieldCheck, name: str, more: tuple[str, ...]
) -> Iterator[tuple[FieldCheck, str, int]]:
    """Read an array of objects that name an event each.

    Args:
        check: of the object that it is a member of; rules that are broken are recorded there.
        name: of the member.
        more: the names of other members that the objects may have.

    Yields:
        The check of an object, the topic and the offset of its event.
    """
    for index, entry in enumerate(check.array(name)):
        if not isinstance(entry, dict):
            check.add_error_at(index, name, f"must be an object, not {kind_of_value(entry)}")
            continue
        each = FieldCheck(entry, check.errors, index, f"{name}.")
        each.only(("topic", "offset", *more))
        offset = 1
        if each.given("topic", required=True) and (broken := _topic_rule_broken(entry["topic"])):
            each.add_error("topic", broken)
        if each.given("offset", required=True):
            offset = each.whole_number("offset", 1, INT64_MAX, 1)
        yield each, str(entry.get("topic")), offset


def _topic_rule_broken(topic: object) -> str | None:
    if isinstance(topic, str):
        return topic_rule_broken(topic)
    return f"must be the name of a topic, not {kind_of_value(topic)}"

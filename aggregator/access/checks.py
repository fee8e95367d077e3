"""Checks of what requests name, against the rights of their senders."""

from collections.abc import Container, Iterable, Sequence

from aggregator.access.entries import Entry
from aggregator.access.errors import Forbidden
from aggregator.wire.errors import FieldError
from storage.model import Event
from storage.topic_patterns import TopicSelection

EVERY_TOPIC = "**"
"""The pattern of all topics."""

_MAX_ERRORS = 100
"""Events that an answer names."""


class ReadableSelection(TopicSelection):
    """A selection of topics, of which those count that may be read.

    Args:
        wanted: the selection.
        entry: the rights.
    """

    def __init__(self, wanted: TopicSelection, entry: Entry) -> None:
        # A copy: its names and prefixes are those of the selection.
        self.__dict__.update(wanted.__dict__)
        self._wanted = wanted
        self._entry = entry

    def matches(self, topic: str) -> bool:
        """Return whether a topic is selected, and may be read."""
        return self._wanted.matches(topic) and self._entry.may_read(topic)


def check_readable(entry: Entry, topic: str) -> None:
    """Return if a topic may be read.

    Raises:
        Forbidden: it may not.
    """
    if not entry.may_read(topic):
        raise Forbidden(f"{entry.name!r} may not read topic {topic!r}")


def check_all_readable(entry: Entry) -> None:
    """Return if every topic may be read.

    Raises:
        Forbidden: some may not.
    """
    if not entry.covers_read(EVERY_TOPIC):
        raise Forbidden(
            f"{entry.name!r} may not read all topics; name one that it may read with topic="
        )


def readable_part(entry: Entry, wanted: TopicSelection) -> TopicSelection:
    """Return the part of a selection that may be read.

    Raises:
        Forbidden: a topic that is named may not be read.
    """
    if entry.covers_read(EVERY_TOPIC):
        return wanted
    for topic in wanted.names:
        check_readable(entry, topic)
    return ReadableSelection(wanted, entry)


def check_subscription(entry: Entry, name: str) -> None:
    """Return if a subscription may be used.

    Raises:
        Forbidden: it may not.
    """
    if not entry.may_subscribe(name):
        raise Forbidden(f"{entry.name!r} may not use subscription {name[:64]!r}")


def check_covered(entry: Entry, topics: Iterable[str]) -> None:
    """Return if all topics of a subscription may be read, those included that do not exist yet.

    Args:
        entry: the rights.
        topics: names and patterns.

    Raises:
        Forbidden: one is not covered.
    """
    for each in topics:
        if not entry.covers_read(each):
            raise Forbidden(f"{entry.name!r} may not read all of the subscription's topic {each!r}")


def forbidden_events(entry: Entry, events: Sequence[Event]) -> dict[int, FieldError]:
    """Return the events that may not be published, by their place.

    Args:
        entry: the rights.
        events: valid ones.
    """
    if entry.source is None:
        if entry.admin:
            return {}
        # Most requests have few topics.
        refused = {
            topic for topic in {each.topic for each in events} if not entry.may_publish(topic)
        }
        if not refused:
            return {}
    found: dict[int, FieldError] = {}
    for index, event in enumerate(events):
        if not entry.may_publish(event.topic):
            message = f"is {event.topic!r}, to which {entry.name!r} may not publish"
            found[index] = FieldError(index, "topic", message)
        elif not entry.may_publish_as(event.source):
            message = f"must be {entry.source!r}, the source of {entry.name!r}"
            found[index] = FieldError(index, "source", message)
    return found


def refused_new_topics(
    entry: Entry, events: Sequence[Event], topics: Container[str]
) -> dict[int, FieldError]:
    """Return the events whose topics would be new ones that may not be made, by their place.

    Args:
        entry: has a limit of new topics.
        events: valid ones.
        topics: those that may not be made.
    """
    limit = entry.limits.new_topics_per_day
    why = f"is over its limit of {limit} new topics a day" if limit else "may make none"
    who = f"a topic that is not there, and {entry.name!r} {why}"
    return {
        index: FieldError(index, "topic", f"is {event.topic!r}, {who}")
        for index, event in enumerate(events)
        if event.topic in topics
    }


def refuse_events(errors: Sequence[FieldError]) -> Forbidden:
    """Return the error of a publish with events that are not allowed."""
    first = errors[0]
    return Forbidden(
        f"event {first.index}: {first.field} {first.message}; nothing of the request was stored",
        errors[:_MAX_ERRORS],
    )

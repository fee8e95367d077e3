"""The query string of a stream: which topics it follows, and where it begins."""

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from aggregator.wire.errors import InvalidRequest
from aggregator.wire.event_query import LOG_START
from aggregator.wire.query_parameters import ParameterCheck, read_parameters
from aggregator.wire.stream_position import PositionUnreadable, parse_position
from aggregator.wire.topic_selection import selection_rule_broken
from storage.model import INT64_MAX
from storage.topic_patterns import TopicSelection

MAX_TOPICS = 100
MAX_LAST = 5000

_STREAMS_ONLY = ("topic", "after", "from", "last", "since", "source", "last_event_id")
_LINES_ONLY = ("topic", "after", "from", "last", "since", "source", "follow")
_OF_PAGES = {
    "until": "which has no end",
    "order": "which is oldest first",
    "limit": "which has no end",
    "cursor": "which has no pages; take after, or the id of the last event",
    "event_id": "which has more than one event",
}
_BEGINNINGS = ("after", "from", "last", "since")


class Start(Enum):
    """The ways to say where a stream begins."""

    AFTER = auto()
    """Behind an offset."""
    LOG_START = auto()
    """With the first offset that is kept."""
    NOW = auto()
    """Behind what is there."""
    LAST = auto()
    """With the newest so many of each topic."""
    SINCE = auto()
    """With what was stored at a time, in microseconds since the epoch, or later."""


class StreamRequest(NamedTuple):
    """A stream that is asked for.

    Args:
        topics: what it follows.
        source: only events of this source.
        start: where it begins, if there is no position.
        number: the offset, the number of events or the time of `start`.
        position: the offsets that its reader has had, by topic; those that are 0 may be missing.
    """

    topics: TopicSelection
    source: str | None
    start: Start
    number: int = 0
    position: dict[str, int] | None = None


def wants_to_follow(query_string: str) -> bool:
    """Return whether the parameter `follow` is given."""
    return any(pair.partition("=")[0] == "follow" for pair in query_string.split("&"))


def parse_stream_query(
    query_string: str, now_us: int, last_event_ids: Sequence[str] = (), *, lines: bool = False
) -> StreamRequest:
    """Parse the query string of a stream.

    Args:
        query_string: the raw query string.
        now_us: the time from which durations count back, in microseconds since the epoch.
        last_event_ids: the values of all `Last-Event-ID` headers; an empty one is none.
        lines: the stream is NDJSON, which is of one topic, has no ids, and begins at the start.

    Raises:
        InvalidRequest: a parameter is unknown, repeated, empty, or breaks its rule, or the position
            is not one that a stream gave.
    """
    known = _LINES_ONLY if lines else _STREAMS_ONLY
    topics: list[str] = []
    sent = read_parameters(query_string, known, {"topic": topics}, _OF_PAGES)
    check = ParameterCheck(sent)
    for name in _OF_PAGES.keys() & sent.keys():
        check.add_error(name, f"makes no sense with a stream, {_OF_PAGES[name]}")
    if lines and sent.get("follow") != "true":
        check.add_error("follow", "must be true; leave it out for the log as it is now")
    selection = _selection(topics, check, lines=lines)
    source = check.text("source")
    start, number = _start(sent, check, now_us, Start.LOG_START if lines else Start.NOW)
    one_topic = selection.one_topic
    if start is Start.AFTER and one_topic is None:
        check.add_error("after", "needs one topic by its name: offsets count within a topic")
    resumed = None if lines else _last_event_id(sent, last_event_ids)
    position = None
    if resumed is not None:
        try:
            position = parse_position(resumed, one_topic)
        except PositionUnreadable:
            what = f"{resumed[:64]!r} is not the id of an event of a stream of these topics"
            check.add_error("last_event_id", f"{what}; leave it out, and say where to begin")
    check.finish()
    return StreamRequest(selection, source, start, number, position)


def _selection(topics: Sequence[str], check: ParameterCheck, *, lines: bool) -> TopicSelection:
    broken = [rule for each in topics[:MAX_TOPICS] if (rule := selection_rule_broken(each))]
    if not 1 <= len(topics) <= MAX_TOPICS:
        broken.append(f"is needed 1 to {MAX_TOPICS} times, not {len(topics)} times")
    for rule in broken:
        check.add_error("topic", rule)
    selection = TopicSelection([] if broken else topics)
    if lines and not broken and selection.one_topic is None:
        check.add_error("topic", "must be one name with follow; text/event-stream takes several")
    return selection


def _start(
    sent: dict[str, str], check: ParameterCheck, now_us: int, default: Start
) -> tuple[Start, int]:
    given = [name for name in _BEGINNINGS if name in sent]
    for name in given[1:]:
        check.add_error(name, f"makes no sense with {given[0]}: both say where to begin")
    if not given:
        return default, 0
    name = given[0]
    if name == "from":
        if sent["from"] not in {"start", "now"}:
            check.add_error("from", f"must be start or now, not {sent['from'][:64]!r}")
        return (Start.LOG_START if sent["from"] == "start" else Start.NOW), LOG_START
    if name == "since":
        return Start.SINCE, check.instant(name, now_us) or 0
    if name == "last":
        return Start.LAST, check.number(name, 1, MAX_LAST) or 0
    return Start.AFTER, check.number(name, 0, INT64_MAX) or 0


def _last_event_id(sent: dict[str, str], headers: Sequence[str]) -> str | None:
    told = [value for value in headers if value]
    if len(told) > 1:
        raise InvalidRequest("Last-Event-ID is given more than once")
    return told[0] if told else sent.get("last_event_id")

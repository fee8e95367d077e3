"""The query string of `GET /events`, its cursors, and the `Link` to the next page."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import blake2b
from urllib.parse import quote, urlencode

import msgspec

from aggregator.wire.event_rules import topic_rule_broken
from aggregator.wire.query_parameters import ParameterCheck, is_duration, read_parameters
from aggregator.wire.timestamps import render_timestamp
from storage.model import INT64_MAX, MAX_TIME_US, MIN_TIME_US, PAGE_BYTES, Position, Query

MAX_LIMIT = 5000
DEFAULT_LIMIT = 100

MAX_PAGE_BYTES = PAGE_BYTES
"""A page ends after the event that takes its payloads to this many bytes."""

LOG_START = 1
"""The first offset whose payload is kept, of every topic: nothing is ever deleted."""

_PARAMETERS = (
    "topic", "event_id", "after", "from", "order", "source", "since", "until", "cursor", "limit",
)  # fmt: skip


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The content of a cursor: the position of the next page, and a digest of its filters."""

    filters: str
    position: Position


_decode_cursor = msgspec.json.Decoder(_Cursor).decode


class ReadRequest(msgspec.Struct, frozen=True):
    """A page of events to read, or one event, with the parameters of the next page."""

    query: Query
    parameters: dict[str, str]
    """The parameters of the next page except `cursor`: as sent, with durations as times."""
    event_id: str | None = None
    """The id of one event of the query's topic, in place of a page."""

    @property
    def can_wait(self) -> bool:
        """Whether `Prefer: wait` fits: a page from a place of one topic on, without an end."""
        names = self.parameters.keys()
        return (
            ("after" in names or "from" in names)
            and not self.query.newest_first
            and self.query.until_us is None
            and self.query.position is None
        )

    def next_target(self, position: Position) -> str:
        """Return the query string of the page that begins behind a position.

        It is relative, so that it leads to the same path, whatever a proxy made of that.

        Args:
            position: the position of the last event of this page.

        Returns:
            The query string with its `?`.
        """
        cursor = _Cursor(_digest(self.parameters), position)
        text = urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")
        return f"?{urlencode({**self.parameters, 'cursor': text}, quote_via=quote)}"


def parse_query(query_string: str, now_us: int, *, lines: bool = False) -> ReadRequest:
    """Parse the query string of `GET /events`.

    Args:
        query_string: the raw query string.
        now_us: the time from which durations count back, in microseconds since the epoch.
        lines: NDJSON is asked for, which has no pages: no cursor, no limit unless one is given,
            and oldest first.

    Returns:
        The page to read.

    Raises:
        InvalidRequest: an unknown, repeated or empty parameter, a value that breaks its rule,
            or a cursor that does not belong to these filters.
    """
    sent = read_parameters(query_string, _PARAMETERS)
    check = ParameterCheck(sent)
    topic = check.topic("topic")
    if "event_id" in sent:
        return _one_event(sent, check, topic)
    source = check.text("source")
    after = check.number("after", 0, INT64_MAX)
    limit = check.number("limit", 1, INT64_MAX if lines else MAX_LIMIT)
    since_us = check.instant("since", now_us)
    until_us = check.instant("until", now_us)
    ascending = lines or "after" in sent or "from" in sent
    order = sent.get("order", "asc" if ascending else "desc")
    if order not in {"asc", "desc"}:
        check.add_error("order", f"must be asc or desc, not {order!r}")
    if "after" in sent and "topic" not in sent:
        check.add_error("after", "needs topic: offsets count within a topic")
    if lines and "cursor" in sent:
        check.add_error("cursor", "makes no sense with NDJSON, which has no pages; take after")
    _check_from(sent, check)
    parameters = {name: value for name, value in sent.items() if name != "cursor"}
    for name, time_us in (("since", since_us), ("until", until_us)):
        if time_us is not None and is_duration(sent[name]):
            # A duration would mean another time on the next page.
            parameters[name] = render_timestamp(time_us)
    position = None if lines else _position(sent, check, _digest(parameters), topic)
    check.finish()
    default_limit = INT64_MAX if lines else DEFAULT_LIMIT
    query = Query(
        topic=topic,
        source=source,
        since_us=since_us,
        until_us=until_us,
        after=LOG_START - 1 if after is None else after,
        newest_first=order == "desc",
        limit=default_limit if limit is None else limit,
        position=position,
        max_bytes=MAX_PAGE_BYTES,
    )
    return ReadRequest(query, parameters)


def _check_from(sent: Mapping[str, str], check: ParameterCheck) -> None:
    if "from" not in sent:
        return
    if sent["from"] != "start":
        check.add_error("from", f"must be start, not {sent['from'][:64]!r}")
    if "after" in sent:
        check.add_error("from", "makes no sense with after: both say where to begin; leave one out")
    if "topic" not in sent:
        check.add_error("from", "needs topic: offsets count within a topic")


def _one_event(sent: Mapping[str, str], check: ParameterCheck, topic: str | None) -> ReadRequest:
    event_id = check.text("event_id")
    if "topic" not in sent:
        check.add_error("event_id", "needs topic: an id is unique within its topic")
    for name in sent:
        if name not in {"topic", "event_id"}:
            check.add_error(name, "makes no sense with event_id, which asks for one event")
    check.finish()
    return ReadRequest(Query(topic=topic, limit=1), dict(sent), event_id)


def _digest(parameters: Mapping[str, str]) -> str:
    """Return a digest of the filters; the page size is not one of them."""
    filters = sorted((name, value) for name, value in parameters.items() if name != "limit")
    return blake2b(msgspec.json.encode(filters), digest_size=6).hexdigest()


def _position(
    sent: Mapping[str, str], check: ParameterCheck, digest: str, topic: str | None
) -> Position | None:
    value = sent.get("cursor")
    if value is None:
        return None
    try:
        cursor = _decode_cursor(urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        check.add_error("cursor", "is not one that a Link header gave")
        return None
    position = cursor.position
    if cursor.filters != digest or (topic is not None and position.topic != topic):
        check.add_error("cursor", "belongs to other filters; keep those of the Link it came from")
        return None
    if not (
        MIN_TIME_US <= position.ts_ingest_us < MAX_TIME_US
        and 0 <= position.offset <= INT64_MAX
        and topic_rule_broken(position.topic) is None
    ):
        check.add_error("cursor", "is not one that a Link header gave")
        return None
    return position

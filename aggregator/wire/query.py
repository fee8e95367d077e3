"""The query string of `GET /events`, its cursors, and the `Link` to the next page."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from aggregator.wire.errors import FieldError, InvalidRequest
from aggregator.wire.events import name_rule_broken, topic_rule_broken
from aggregator.wire.timestamps import parse_instant
from storage.model import INT64_MAX, MAX_TIME_US, MIN_TIME_US, Position, Query

MAX_LIMIT = 5000
DEFAULT_LIMIT = 100

_PARAMETERS = ("topic", "after", "order", "source", "since", "until", "cursor", "limit")
_DIGITS = re.compile(r"[0-9]{1,4300}", re.ASCII)


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """What a cursor holds: where to go on, and a digest of the filters it belongs to."""

    filters: str
    position: Position


_decode_cursor = msgspec.json.Decoder(_Cursor).decode


class ReadRequest(msgspec.Struct, frozen=True):
    """A page to read and how to ask for the one behind it."""

    query: Query
    parameters: dict[str, str]
    """The parameters as sent, without `cursor`."""

    def next_target(self, path: str, position: Position) -> str:
        """The URL, without scheme and host, of the page that begins behind `position`."""
        cursor = _Cursor(_digest(self.parameters), position)
        text = urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")
        return f"{path}?{urlencode({**self.parameters, 'cursor': text}, quote_via=quote)}"


def parse_query(query_string: str) -> ReadRequest:
    """The page that a raw query string asks for.

    Raises:
        InvalidRequest: an unknown, repeated or empty parameter, a value that breaks its rule,
            or a cursor that does not belong to these filters.
    """
    sent = _parameters(query_string)
    check = _Check(sent)
    topic = check.name("topic")
    source = check.name("source")
    after = check.number("after", 0, INT64_MAX)
    limit = check.number("limit", 1, MAX_LIMIT)
    since_us = check.instant("since")
    until_us = check.instant("until")
    order = sent.get("order", "asc" if "after" in sent else "desc")
    if order not in {"asc", "desc"}:
        check.wrong("order", f"must be asc or desc, not {order!r}")
    if "after" in sent and "topic" not in sent:
        check.wrong("after", "needs topic: offsets count within a topic")
    parameters = {name: value for name, value in sent.items() if name != "cursor"}
    position = check.cursor(_digest(parameters), topic)
    if check.errors:
        first = check.errors[0]
        raise InvalidRequest(f"{first.field} {first.message}", check.errors)
    query = Query(
        topic=topic,
        source=source,
        since_us=since_us,
        until_us=until_us,
        after=after or 0,
        newest_first=order == "desc",
        limit=DEFAULT_LIMIT if limit is None else limit,
        position=position,
    )
    return ReadRequest(query, parameters)


def _parameters(query_string: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query_string, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidRequest("the query string is not percent-encoded UTF-8") from error
    except ValueError as error:
        raise InvalidRequest(f"the query string can't be read: {error}") from error
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name not in _PARAMETERS:
            raise InvalidRequest(
                f"unknown parameter {name[:64]!r}; known are {', '.join(_PARAMETERS)}"
            )
        if name in parameters:
            raise InvalidRequest(f"{name} is given more than once")
        if not value:
            raise InvalidRequest(f"{name} is empty; leave it out or give it a value")
        parameters[name] = value
    return parameters


def _digest(parameters: dict[str, str]) -> str:
    """What the filters are, short; the page size is not one of them."""
    filters = sorted((name, value) for name, value in parameters.items() if name != "limit")
    return blake2b(msgspec.json.encode(filters), digest_size=6).hexdigest()


class _Check:
    """Collects what is wrong with the parameters."""

    def __init__(self, sent: dict[str, str]) -> None:
        self.errors: list[FieldError] = []
        self._sent = sent

    def wrong(self, name: str, message: str) -> None:
        self.errors.append(FieldError(0, name, message))

    def name(self, name: str) -> str | None:
        value = self._sent.get(name)
        if value is not None:
            broken = topic_rule_broken(value) if name == "topic" else name_rule_broken(value)
            if broken:
                self.wrong(name, broken)
        return value

    def number(self, name: str, low: int, high: int) -> int | None:
        value = self._sent.get(name)
        if value is None:
            return None
        if _DIGITS.fullmatch(value) is None or not low <= int(value) <= high:
            self.wrong(name, f"must be a whole number from {low} to {high}, not {value[:64]!r}")
            return None
        return int(value)

    def instant(self, name: str) -> int | None:
        value = self._sent.get(name)
        if value is None:
            return None
        try:
            return parse_instant(value)
        except ValueError as error:
            self.wrong(name, f"{value[:64]!r} {error} (a + in a URL is a space: write %2B or Z)")
            return None

    def cursor(self, digest: str, topic: str | None) -> Position | None:
        value = self._sent.get("cursor")
        if value is None:
            return None
        try:
            cursor = _decode_cursor(urlsafe_b64decode(value + "=" * (-len(value) % 4)))
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            self.wrong("cursor", "is not one that a Link header gave")
            return None
        position = cursor.position
        if cursor.filters != digest or (topic is not None and position.topic != topic):
            self.wrong("cursor", "belongs to other filters; keep those of the Link it came from")
            return None
        if not (
            MIN_TIME_US <= position.ts_ingest_us < MAX_TIME_US
            and 0 <= position.offset <= INT64_MAX
            and topic_rule_broken(position.topic) is None
        ):
            self.wrong("cursor", "is not one that a Link header gave")
            return None
        return position

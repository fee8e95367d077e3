"""The answers about subscriptions that commands show to people."""

import json
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from publisher.refusals import one_line
from subscriber.calls.http import Answer
from subscriber.errors import SubscriptionRefused

_OK = 200
_LONG_INTEGER = 1000

_Shape = TypeVar("_Shape")


class Lag(msgspec.Struct):
    """How far the consumers of a subscription are behind.

    Args:
        events: events that are leased or waiting.
        seconds: since the oldest of these was stored.
    """

    events: int
    seconds: float


class Counts(msgspec.Struct):
    """The counts of a topic of a subscription, or of all of them."""

    head: int
    start: int
    acknowledged: int
    dead: int
    leased: int
    waiting: int
    redelivered: int
    lag: Lag


class Subscription(Counts):
    """A subscription with the counts of a page of its topics."""

    name: str
    settings: dict[str, Any]
    state: str
    reason: str | None
    topics: dict[str, Counts]
    topics_total: int


class Named(msgspec.Struct):
    """The name of a subscription in a list."""

    name: str


class Sought(msgspec.Struct):
    """What a seek does, in numbers of events."""

    again: int
    skipped: int


class Retried(msgspec.Struct):
    """What a retry of dead letters has done, in numbers of them."""

    retried: int
    left: int


def shaped(answer: Answer, shape: type[_Shape]) -> _Shape:
    """Decode an answer.

    Raises:
        SubscriptionRefused: it has another shape, so its sender is no aggregator.
    """
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise foreign(error) from error


def elements(answer: Answer) -> list[tuple[bytes, dict[str, Any]]]:
    """Return the objects of an array, each as it was sent and decoded.

    Raises:
        SubscriptionRefused: it is no array of objects, so its sender is no aggregator.
    """
    try:
        return list(_elements(answer.body.decode().strip()))
    except (ValueError, RecursionError) as error:
        raise foreign(error) from error


def foreign(error: Exception) -> SubscriptionRefused:
    """Return the refusal of an answer that no aggregator gives."""
    return SubscriptionRefused(_OK, f"not the answer of an aggregator: {one_line(str(error))}")


def _elements(text: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    # msgspec refuses lone surrogates, and so events that are valid.
    if not text.startswith("["):
        raise ValueError("it is no array")
    end = 1
    while text[end : end + 1] != "]":
        begin = end
        value, end = _decode(text, begin)
        if not isinstance(value, dict):
            raise ValueError("it is no array of objects")  # noqa: TRY004 - it is no mistake of ours
        yield text[begin:end].encode(), value
        end += text[end : end + 1] == ","


def _integer(text: str) -> int | str:
    # Python converts no more digits than some thousands.
    return int(text) if len(text) < _LONG_INTEGER else text


_decode = json.JSONDecoder(parse_int=_integer).raw_decode

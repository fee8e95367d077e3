"""What an aggregator answers to a batch, checked against what was sent."""

import codecs
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import Literal

import msgspec

from publisher.errors import EventRejected, PublishRefused
from publisher.events import EncodedEvent
from publisher.refusals import one_line

_REASON_CHARACTERS = 1000  # an event may break several rules, and each is named

Status = Literal["stored", "duplicate", "conflict"]


class Verdict(msgspec.Struct, frozen=True):
    """What became of an event. It is durable.

    status: `stored` is new; `duplicate` was there already; `conflict` was there with another
    payload or source, which is kept: this one is not stored.
    offset: that of the stored event, within its topic, from 1.
    """

    topic: str
    event_id: str
    status: Status
    offset: int


Outcome = Verdict | EventRejected


class AnswerCutShort(Exception):
    """The end of the answer is missing."""


class _Result(msgspec.Struct):
    status: Literal["stored", "duplicate", "conflict", "rejected"]
    topic: str = ""
    event_id: str = ""
    offset: int = 0
    index: int | None = None
    error: str = ""


class _Answer(msgspec.Struct):
    received: int
    unique_processed: int
    duplicate_dropped: int
    conflicts: int
    results: list[_Result]
    rejected: int = 0


_decode = msgspec.json.Decoder(_Answer).decode
_utf_8 = codecs.getincrementaldecoder("utf-8")


def read_outcomes(answer: bytes, batch: Sequence[EncodedEvent]) -> list[Outcome]:
    """Give the outcome of each event of a batch, in its order.

    answer: the body of a 200.

    Raises AnswerCutShort, and PublishRefused for an answer that no aggregator gives to this batch:
    a proxy may answer too, and an event counts as stored only by a verdict of its own.
    """
    try:
        content = _decode(answer)
    except msgspec.ValidationError as error:
        raise _foreign(f"not that of an aggregator ({error})") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # Which of the two bytes that are not UTF-8 raise depends on the version of msgspec.
        if answer.startswith(b"{") and not _begins_as_utf_8(answer):
            raise _foreign("not that of an aggregator (not UTF-8)") from error
        # Without Content-Length only the JSON itself tells that its end is missing.
        if not answer or answer.startswith(b"{"):
            raise AnswerCutShort from error
        raise _foreign("not that of an aggregator (no JSON)") from error
    except RecursionError as error:
        raise _foreign("not that of an aggregator (nested too deeply)") from error
    if len(content.results) != len(batch):
        raise _foreign(f"{len(content.results):,} results for {len(batch):,} events")
    outcomes = [
        _outcome(place, result, event)
        for place, (result, event) in enumerate(zip(content.results, batch, strict=True))
    ]
    statuses: Counter[str] = Counter(result.status for result in content.results)
    dropped = statuses["duplicate"] + statuses["conflict"]
    told = (
        content.received, content.unique_processed, content.duplicate_dropped, content.conflicts,
        content.rejected,
    )  # fmt: skip
    counted = (
        statuses["stored"] + dropped, statuses["stored"], dropped, statuses["conflict"],
        statuses["rejected"],
    )  # fmt: skip
    if told != counted:
        raise _foreign(f"its counts {told} are not those of its results {counted}")
    return outcomes


def _begins_as_utf_8(answer: bytes) -> bool:
    """Whether an answer is UTF-8, but for a character that its end may have cut."""
    try:
        _utf_8().decode(answer)
    except UnicodeDecodeError:
        return False
    return True


def _outcome(place: int, result: _Result, event: EncodedEvent) -> Outcome:
    if result.status == "rejected":
        if result.index != place:
            raise _foreign(f"result {place} is for event {result.index}")
        return EventRejected(
            one_line(result.error, most=_REASON_CHARACTERS) or "rejected without a reason"
        )
    if (result.topic, result.event_id) != (event.topic, event.event_id) or result.offset < 1:
        raise _foreign(
            f"result {place} is {result.status!r} at {result.offset} for "
            f"{result.topic!r} {result.event_id!r}, sent was {event.topic!r} {event.event_id!r}"
        )
    return Verdict(result.topic, result.event_id, result.status, result.offset)


def _foreign(detail: str) -> PublishRefused:
    return PublishRefused(HTTPStatus.OK, one_line(detail))

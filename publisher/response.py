"""The outcomes in an aggregator's response, checked against the batch that was sent."""

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
    """The durable outcome of an event.

    Args:
        topic: the event's topic.
        event_id: the event's id.
        status: `stored` if the event is new, `duplicate` if it was stored before, `conflict` if the
            stored event of that id has another payload or source; this one is then not stored.
        offset: the offset of the stored event within its topic, from 1; 0 of a conflict with an
            event of which this publisher may know nothing.
    """

    topic: str
    event_id: str
    status: Status
    offset: int


Outcome = Verdict | EventRejected


class TruncatedResponse(Exception):
    """The end of the response is missing."""


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


_COUNTS = ("received", "unique_processed", "duplicate_dropped", "conflicts", "rejected")
_decode = msgspec.json.Decoder(_Answer).decode
_utf_8 = codecs.getincrementaldecoder("utf-8")


def read_outcomes(answer: bytes, batch: Sequence[EncodedEvent]) -> list[Outcome]:
    """Parse the outcomes of a batch.

    A proxy may answer in place of an aggregator, so an event counts as stored only by a verdict of
    its own.

    Args:
        answer: the body of a response with status 200.
        batch: the events that were sent.

    Returns:
        One outcome for each event, in the order of the batch.

    Raises:
        TruncatedResponse: the end of the body is missing.
        PublishRefused: no aggregator gives this response to this batch.
    """
    try:
        content = _decode(answer)
    except msgspec.ValidationError as error:
        raise _foreign(f"not that of an aggregator ({error})") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # Which of the two bytes that are not UTF-8 raise depends on the version of msgspec.
        if answer.startswith(b"{") and not _begins_as_utf_8(answer):
            raise _foreign("not that of an aggregator (not UTF-8)") from error
        # Without Content-Length only the JSON itself shows that its end is missing.
        if not answer or answer.startswith(b"{"):
            raise TruncatedResponse from error
        raise _foreign("not that of an aggregator (no JSON)") from error
    except RecursionError as error:
        raise _foreign("not that of an aggregator (nested too deeply)") from error
    if len(content.results) != len(batch):
        raise _foreign(f"{len(content.results):,} results for {len(batch):,} events")
    outcomes = [
        _outcome(place, result, event)
        for place, (result, event) in enumerate(zip(content.results, batch, strict=True))
    ]
    counts = tuple(getattr(content, field) for field in _COUNTS)
    counted = _counts_of(content.results)
    if counts != counted:
        raise _foreign(f"its counts {counts} are not those of its results {counted}")
    return outcomes


def _counts_of(results: Sequence[_Result]) -> tuple[int, ...]:
    """Return the counts of _COUNTS, in that order, that belong to results."""
    statuses: Counter[str] = Counter(result.status for result in results)
    stored, conflicts = statuses["stored"], statuses["conflict"]
    dropped = statuses["duplicate"] + conflicts
    return stored + dropped, stored, dropped, conflicts, statuses["rejected"]


def _begins_as_utf_8(answer: bytes) -> bool:
    """Return whether bytes are UTF-8, but for a character that is cut at the end."""
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
            one_line(result.error, max_characters=_REASON_CHARACTERS) or "rejected without a reason"
        )
    least = 0 if result.status == "conflict" else 1
    if (result.topic, result.event_id) != (event.topic, event.event_id) or result.offset < least:
        raise _foreign(
            f"result {place} is {result.status!r} at {result.offset} for "
            f"{result.topic!r} {result.event_id!r}, sent was {event.topic!r} {event.event_id!r}"
        )
    return Verdict(result.topic, result.event_id, result.status, result.offset)


def _foreign(detail: str) -> PublishRefused:
    return PublishRefused(HTTPStatus.OK, one_line(detail))

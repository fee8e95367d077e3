"""The encoders of responses: verdicts, events and counts as JSON."""

from collections.abc import Mapping, Sequence
from operator import attrgetter

import msgspec

from aggregator.wire.publish_body import Batch
from storage.model import Page, Stats, Status, Verdict


class PublishSummary(msgspec.Struct, frozen=True):
    """The counts of one publish, in its response and in the log."""

    received: int
    unique_processed: int
    duplicate_dropped: int
    conflicts: int


class _PlainResponse(msgspec.Struct):
    """The response to a publish without preferences."""

    received: int
    unique_processed: int
    duplicate_dropped: int
    conflicts: int
    results: Sequence[object]


_encode = msgspec.json.encode
_status = attrgetter("status")


def summarize(verdicts: Sequence[Verdict]) -> PublishSummary:
    """Count the verdicts of one request."""
    statuses = list(map(_status, verdicts))
    stored = statuses.count(Status.STORED)
    return PublishSummary(
        received=len(statuses),
        unique_processed=stored,
        duplicate_dropped=len(statuses) - stored,
        conflicts=statuses.count(Status.CONFLICT),
    )


def publish_answer(
    summary: PublishSummary,
    batch: Batch,
    verdicts: Sequence[Verdict],
    *,
    minimal: bool,
    lenient: bool,
    hides_others: bool = False,
) -> bytes:
    """Encode the response to a publish: counts, and one result for each event in the order sent.

    Args:
        summary: the counts of the valid events.
        batch: the events of the request.
        verdicts: the verdicts of the valid events, in order.
        minimal: leave out the results of valid events. Then there are `results` only with
            `lenient`.
        lenient: add the number of rejected events.
        hides_others: leave out the offsets of conflicts, which are of events that the publisher may
            know nothing of.

    Returns:
        The JSON text.
    """
    results: Sequence[object] = verdicts
    if hides_others and summary.conflicts:
        results = [_without_offset(each) for each in verdicts]
    if not minimal and not lenient:
        return _encode(
            _PlainResponse(
                summary.received,
                summary.unique_processed,
                summary.duplicate_dropped,
                summary.conflicts,
                results,
            )
        )
    answer: dict[str, object] = msgspec.to_builtins(summary)
    rejected = {
        index: {"index": index, "status": "rejected", "error": error}
        for index, error in batch.rejected.items()
    }
    if lenient:
        answer["rejected"] = len(rejected)
    if not minimal:
        answer["results"] = _in_order(results, rejected) if rejected else results
    elif lenient:
        answer["results"] = list(rejected.values())
    return _encode(answer)


def _without_offset(verdict: Verdict) -> object:
    if verdict.status is not Status.CONFLICT:
        return verdict
    told: dict[str, object] = msgspec.to_builtins(verdict)
    del told["offset"]
    return told


def _in_order(verdicts: Sequence[object], rejected: Mapping[int, object]) -> list[object]:
    valid = iter(verdicts)
    total = len(verdicts) + len(rejected)
    return [rejected[index] if index in rejected else next(valid) for index in range(total)]


def events_answer(page: Page[bytes]) -> list[bytes]:
    """Encode a page of stored events as an array, in parts.

    Args:
        page: its parts are made by `encode_objects`; they are not copied.
    """
    pieces = [b","] * (2 * len(page.parts) + 1)
    pieces[0], pieces[1::2], pieces[-1] = b"[", page.parts, b"]"
    return pieces if page.parts else [b"[]"]


def stats_answer(stats: Stats, uptime_s: float, backend: str) -> bytes:
    """Encode the response of /stats.

    Args:
        stats: the counts in all, and of the listed topics.
        uptime_s: the time since the start, in seconds.
        backend: the name of the backend.

    Returns:
        The JSON text.
    """
    uptime_s = round(uptime_s, 3)
    return _encode(
        msgspec.to_builtins(stats.totals)
        | {
            "topics": {
                topic: msgspec.to_builtins(counts) | {"head_offset": counts.unique_processed}
                for topic, counts in stats.topics.items()
            },
            "topics_total": stats.topics_total,
            "uptime": uptime_s,
            "uptime_seconds": uptime_s,
            "backend": backend,
        }
    )

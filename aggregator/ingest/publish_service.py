"""What a publish is, whichever way it comes: when it is taken, what was sent, what is told."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from multidict import CIMultiDictProxy

from aggregator.ingest.admission import Admission, Reservation
from aggregator.ingest.group_commit import GroupCommit, ShuttingDown
from aggregator.ingest.store_monitor import StoreMonitor
from aggregator.observability.conflict_log import ConflictLog
from aggregator.request_context import RequestContext
from aggregator.wire.event_rules import Limits
from aggregator.wire.headers import (
    Preferences,
    parse_content_encoding,
    parse_content_type,
    parse_prefer,
)
from aggregator.wire.publish_body import Batch, parse_publish
from aggregator.wire.responses import PublishSummary, publish_answer, summarize
from storage.model import Event, Verdict

_KEPT_FORMS = 1000
_MOST_KEPT_CHARACTERS = 200


class Form(NamedTuple):
    """What the headers say of a publish."""

    preferences: Preferences
    ndjson: bool
    gzip: bool
    headers: Mapping[str, str]
    """Of the answer."""


class Answer(NamedTuple):
    """What is told of a publish that is stored."""

    summary: PublishSummary
    body: bytes
    headers: Mapping[str, str]


class PublishService:
    """Publishes, from their bytes to their answers.

    Args:
        watch: whether the store is in reach.
        admission: the room there is for them.
        group_commit: what stores them.
        limits: on a request and its events.
    """

    def __init__(
        self,
        *,
        monitor: StoreMonitor,
        admission: Admission,
        group_commit: GroupCommit,
        limits: Limits,
    ) -> None:
        self.limits = limits
        self._monitor = monitor
        self._admission = admission
        self._group_commit = group_commit
        self._conflicts = ConflictLog()
        self._draining = False

    def stop_taking(self) -> None:
        """Refuse publishes from now on."""
        self._draining = True

    def check_taking(self) -> None:
        """Raise `ShuttingDown`, a `StorageError` or `QueueFull` if no publish is taken now."""
        if self._draining:
            raise ShuttingDown("the aggregator is shutting down")
        self._monitor.check()
        self._admission.check()

    def reservation(self) -> Reservation:
        """What one request will claim of the room; see `Admission.reservation`."""
        return self._admission.reservation()

    def parse(self, body: bytes, form: Form) -> Batch:
        """The events of a body, decompressed; see `parse_publish`."""
        return parse_publish(
            body, ndjson=form.ndjson, lenient=form.preferences.lenient, limits=self.limits
        )

    def store(
        self, events: Sequence[Event], size: int, context: RequestContext
    ) -> asyncio.Future[list[Verdict]]:
        """The verdicts, once they are durable; see `GroupCommit.submit`. No events have none."""
        if events:
            return self._group_commit.submit(events, size, context.traced)
        nothing: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        nothing.set_result([])
        return nothing

    def answer(
        self, form: Form, batch: Batch, verdicts: Sequence[Verdict], context: RequestContext
    ) -> Answer:
        """What is told of it; warns of conflicts."""
        summary = summarize(verdicts)
        if summary.conflicts:
            self._conflicts.note(verdicts, context)
        preferences = form.preferences
        body = publish_answer(
            summary, batch, verdicts, minimal=preferences.minimal, lenient=preferences.lenient
        )
        return Answer(summary, body, form.headers)


def form_of(headers: CIMultiDictProxy[str]) -> Form:
    """What the headers of a publish say.

    Raises:
        UnsupportedMediaType: in another form than is taken.
    """
    content_type = headers.get("Content-Type")
    encodings = tuple(headers.getall("Content-Encoding", ()))
    preferences = tuple(headers.getall("Prefer", ()))
    # A publisher says the same each time; what is as long as nobody would write is not kept.
    lines = encodings + preferences
    length = len(content_type or "") + len(lines) + sum(map(len, lines))
    form = _kept_form if length <= _MOST_KEPT_CHARACTERS else _form
    return form(content_type, encodings, preferences)


def _form(
    content_type: str | None, content_encoding: tuple[str, ...], prefer: tuple[str, ...]
) -> Form:
    preferences = parse_prefer(prefer)
    applied = preferences.applied
    return Form(
        preferences,
        parse_content_type(content_type),
        parse_content_encoding(content_encoding),
        {"Preference-Applied": applied} if applied else {},
    )


_kept_form = lru_cache(_KEPT_FORMS)(_form)

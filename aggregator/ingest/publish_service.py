"""The publish use case, shared by the normal route and the fast path.

A publish takes the same steps in the same order, whichever way its bytes come: check that events
are accepted, read what the headers say of the form, reserve room for the bytes, parse, reserve room
for the events, store, respond. The two ways in only carry bytes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, Self

from multidict import CIMultiDictProxy

from aggregator.access.checks import forbidden_events, refuse_events
from aggregator.access.entries import Entry
from aggregator.ingest.admission import Admission
from aggregator.ingest.group_commit import GroupCommit, ShuttingDown
from aggregator.ingest.store_monitor import StoreMonitor
from aggregator.logging.observer_guard import notify
from aggregator.request_context import RequestContext
from aggregator.wire.event_rules import Limits
from aggregator.wire.headers import (
    Preferences,
    check_type_is_named,
    parse_content_encoding,
    parse_content_type,
    parse_prefer,
)
from aggregator.wire.publish_body import Batch, parse_publish
from aggregator.wire.responses import PublishSummary, publish_answer, summarize
from storage.model import Verdict

_CACHED_FORMS = 1000
_MAX_CACHED_CHARACTERS = 200

_LARGE_BODY_BYTES = 64 * 1024
"""Bodies above this are parsed off the event loop."""

_MAX_PARSERS = 2
"""At most so many at once: what parsing needs for a while is a multiple of the body."""


class PublishForm(NamedTuple):
    """The form of a publish, as its headers have it."""

    preferences: Preferences
    ndjson: bool
    gzip: bool
    response_headers: Mapping[str, str]


class PublishResponse(NamedTuple):
    """The response to a publish that is stored: status 200, JSON."""

    summary: PublishSummary
    body: bytes
    headers: Mapping[str, str]


Respond = Callable[[PublishResponse | Exception], object]
"""Callback with the response to a publish, or with the error in place of one; runs exactly once."""


class PublishService:
    """Accepts publishes, from their headers and bytes to their responses.

    Args:
        monitor: knows whether the store is in reach.
        admission: bounds what is on its way at once.
        group_commit: stores the events.
        limits: on a request and its events.
        on_conflicts: observer with the verdicts of a publish that met conflicts, and its context.
    """

    def __init__(
        self,
        *,
        monitor: StoreMonitor,
        admission: Admission,
        group_commit: GroupCommit,
        limits: Limits,
        on_conflicts: Callable[[Sequence[Verdict], RequestContext], object],
    ) -> None:
        self.limits = limits
        self._monitor = monitor
        self.admission = admission
        self.group_commit = group_commit
        self.on_conflicts = on_conflicts
        self.parsers = ThreadPoolExecutor(_MAX_PARSERS, thread_name_prefix="parser")
        self._draining = False

    def stop_accepting(self) -> None:
        """Refuse publishes from now on."""
        self._draining = True

    def close(self) -> None:
        """Give up what is still being parsed; nobody waits for it any more."""
        self.parsers.shutdown(wait=False, cancel_futures=True)

    def check_accepting(self) -> None:
        """Return if a publish would be accepted now.

        Raises:
            ShuttingDown: the aggregator drains.
            StorageError: the store is out of reach.
            QueueFull: no room now.
        """
        if self._draining:
            raise ShuttingDown("the aggregator is shutting down")
        self._monitor.check()
        self.admission.check()

    def begin(self, headers: CIMultiDictProxy[str], rights: Entry) -> "Publish":
        """Begin a publish whose head has come: check that it is accepted, and read its form.

        Args:
            headers: of the request.
            rights: what its sender may do.

        Raises:
            UnsupportedMediaType: the form is none that is taken.
            ShuttingDown, StorageError, QueueFull: see `check_accepting`.
        """
        self.check_accepting()
        return Publish(self, publish_form(headers), rights)


class Publish:
    """One publish, which holds its room until it is responded to or given up.

    Args:
        service: accepts it.
        form: what its headers say.
        rights: what its sender may do.
    """

    __slots__ = ("_batch", "_context", "_reservation", "_respond", "_rights", "_service", "form")

    _batch: Batch
    _context: RequestContext
    _respond: Respond

    def __init__(self, service: PublishService, form: PublishForm, rights: Entry) -> None:
        self.form = form
        self._rights = rights
        self._service = service
        self._reservation = service.admission.reservation()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reservation.release()

    def reserve_bytes(self, size: int) -> None:
        """Reserve room for so many more bytes of the body, before they are kept.

        Raises:
            QueueFull: no room now.
        """
        self._reservation.reserve(size=size)

    def submit(self, body: bytes, context: RequestContext, respond: Respond) -> None:
        """Parse and store a body, all or nothing, and respond once that is durable.

        Whatever is raised on the way is given to `respond`. Who gives up waiting changes nothing:
        the events are stored all the same.

        Args:
            body: all of it, decompressed; room that is not reserved for it yet is reserved now.
            context: of its request.
            respond: called before this returns, or later.
        """
        self._context, self._respond = context, respond
        try:
            self._reservation.reserve(size=len(body) - self._reservation.size)
            if len(body) > _LARGE_BODY_BYTES:
                loop = asyncio.get_running_loop()
                parsing = loop.run_in_executor(self._service.parsers, self._parse, body)
                parsing.add_done_callback(self._on_parsed)
                return
            batch = self._parse(body)
        except Exception as error:  # noqa: BLE001 - no input may end without an answer
            self._fail(error)
        else:
            self._store(batch)

    def response(self, body: bytes, context: RequestContext) -> asyncio.Future[PublishResponse]:
        """Return a future of the response; see `submit`. It may raise what `submit` gives."""
        done: asyncio.Future[PublishResponse] = asyncio.get_running_loop().create_future()

        def resolve(outcome: PublishResponse | Exception) -> None:
            if done.done():
                # The caller was cancelled.
                return
            if isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

        self.submit(body, context, resolve)
        return done

    def _parse(self, body: bytes) -> Batch:
        form = self.form
        return parse_publish(
            body, ndjson=form.ndjson, lenient=form.preferences.lenient, limits=self._service.limits
        )

    def _on_parsed(self, parsing: "asyncio.Future[Batch]") -> None:
        try:
            batch = parsing.result()
        except asyncio.CancelledError:
            self._fail(ShuttingDown("the aggregator is shutting down"))
        except Exception as error:  # noqa: BLE001 - no input may end without an answer
            self._fail(error)
        else:
            self._store(batch)

    def _store(self, batch: Batch) -> None:
        refused = forbidden_events(self._rights, batch.events)
        if refused and not self.form.preferences.lenient:
            self._fail(refuse_events(list(refused.values())))
            return
        if refused:
            batch = batch.without(refused)
        self._batch = batch
        events = batch.events
        if not events:
            # A lenient publish whose events were all rejected: nothing to store, all to tell.
            self._settle([])
            return
        try:
            self._reservation.reserve(events=len(events))
            storing = self._service.group_commit.submit(
                events, self._reservation.size, self._context.trace
            )
        except Exception as error:  # noqa: BLE001 - no input may end without an answer
            self._fail(error)
        else:
            storing.add_done_callback(self._on_stored)

    def _on_stored(self, storing: asyncio.Future[list[Verdict]]) -> None:
        try:
            verdicts = storing.result()
        except Exception as error:  # noqa: BLE001 - no input may end without an answer
            self._fail(error)
        else:
            self._settle(verdicts)

    def _settle(self, verdicts: list[Verdict]) -> None:
        self._reservation.release()
        preferences = self.form.preferences
        try:
            summary = summarize(verdicts)
            if summary.conflicts:
                notify(self._service.on_conflicts, verdicts, self._context)
            body = publish_answer(
                summary,
                self._batch,
                verdicts,
                minimal=preferences.minimal,
                lenient=preferences.lenient,
                hides_others=self._rights.source is not None,
            )
        except Exception as error:  # noqa: BLE001 - no input may end without an answer
            self._respond(error)
            return
        self._respond(PublishResponse(summary, body, self.form.response_headers))

    def _fail(self, error: Exception) -> None:
        self._reservation.release()
        self._respond(error)


def publish_form(headers: CIMultiDictProxy[str]) -> PublishForm:
    """Read the form of a publish from its headers.

    Raises:
        UnsupportedMediaType: the form is none that is taken.
    """
    content_type = headers.get("Content-Type")
    check_type_is_named(headers)
    encodings = tuple(headers.getall("Content-Encoding", ()))
    preferences = tuple(headers.getall("Prefer", ()))
    # A publisher says the same each time; what is as long as nobody would write is not kept.
    lines = encodings + preferences
    length = len(content_type or "") + len(lines) + sum(map(len, lines))
    form = _cached_form if length <= _MAX_CACHED_CHARACTERS else _form
    return form(content_type, encodings, preferences)


def _form(
    content_type: str | None, content_encoding: tuple[str, ...], prefer: tuple[str, ...]
) -> PublishForm:
    preferences = parse_prefer(prefer)
    applied = preferences.applied
    return PublishForm(
        preferences,
        parse_content_type(content_type),
        parse_content_encoding(content_encoding),
        {"Preference-Applied": applied} if applied else {},
    )


_cached_form = lru_cache(_CACHED_FORMS)(_form)

"""The publish use case, shared by the normal route and the fast path.

A publish takes the same steps in the same order, whichever way its bytes come: check that events
are accepted, read what the headers say of the form, reserve room for the bytes, parse, reserve room
for the events, count against limits, store, respond. The two ways in only carry bytes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, Self

from multidict import CIMultiDictProxy

from aggregator.access.authority import Identity
from aggregator.access.checks import forbidden_events, refuse_events, refused_new_topics
from aggregator.access.entries import NO_LIMITS
from aggregator.access.limits import Usage
from aggregator.ingest.admission import Admission
from aggregator.ingest.group_commit import GroupCommit, ShuttingDown
from aggregator.ingest.known_topics import KnownTopics
from aggregator.ingest.publish_form import PublishForm, publish_form
from aggregator.ingest.store_monitor import StoreMonitor
from aggregator.logging.observer_guard import notify
from aggregator.request_context import RequestContext
from aggregator.wire.event_rules import Limits
from aggregator.wire.publish_body import Batch, parse_publish
from aggregator.wire.responses import PublishSummary, publish_answer, summarize
from storage.model import Verdict

_LARGE_BODY_BYTES = 64 * 1024
"""Bodies above this are parsed off the event loop."""

_MAX_PARSERS = 2
"""At most so many at once: what parsing needs for a while is a multiple of the body."""


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
        usage: what entries have used of their limits.
        known_topics: knows which topics are there.
        on_conflicts: observer with the verdicts of a publish that met conflicts, and its context.
    """

    def __init__(
        self,
        *,
        monitor: StoreMonitor,
        admission: Admission,
        group_commit: GroupCommit,
        limits: Limits,
        usage: Usage,
        known_topics: KnownTopics,
        on_conflicts: Callable[[Sequence[Verdict], RequestContext], object],
    ) -> None:
        self.limits = limits
        self._monitor = monitor
        self.admission = admission
        self.group_commit = group_commit
        self.usage = usage
        self.known_topics = known_topics
        self.on_conflicts = on_conflicts
        self.parsers = ThreadPoolExecutor(_MAX_PARSERS, thread_name_prefix="parser")
        self._draining = False

    def stop_accepting(self) -> None:
        """Refuse publishes from now on."""
        self._draining = True

    def close(self) -> None:
        """Give up what is still being parsed or looked up; nobody waits for it any more."""
        self.known_topics.close()
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

    def begin(self, headers: CIMultiDictProxy[str], sender: Identity) -> "Publish":
        """Begin a publish whose head has come: check that it is accepted, and read its form.

        Args:
            headers: of the request.
            sender: who it comes from.

        Raises:
            UnsupportedMediaType: the form is none that is taken.
            ShuttingDown, StorageError, QueueFull: see `check_accepting`.
        """
        self.check_accepting()
        return Publish(self, publish_form(headers), sender)


class Publish:
    """One publish, which holds its room until it is responded to or given up.

    Args:
        service: accepts it.
        form: what its headers say.
        sender: who it comes from.
    """

    __slots__ = (
        "_batch", "_context", "_reservation", "_respond", "_rights", "_sender", "_service", "form"
    )  # fmt: skip

    _batch: Batch
    _context: RequestContext
    _respond: Respond

    def __init__(self, service: PublishService, form: PublishForm, sender: Identity) -> None:
        self.form = form
        self._sender = sender
        self._rights = sender.entry
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
        if self._rights.limits.new_topics_per_day is None:
            self._admit(batch, [])
            return
        known = self._service.known_topics
        if unknown := known.unknown(event.topic for event in batch.events):
            known.look_up(unknown).add_done_callback(partial(self._on_looked_up, batch))
        else:
            self._admit(batch, [])

    def _on_looked_up(self, batch: Batch, look_up: asyncio.Task[list[str]]) -> None:
        try:
            # Another publish may have made one of them meanwhile.
            new = self._service.known_topics.unknown(look_up.result())
        except asyncio.CancelledError:
            self._fail(ShuttingDown("the aggregator is shutting down"))
            return
        except Exception as error:  # noqa: BLE001 - no input may end without an answer
            self._fail(error)
            return
        if self.form.preferences.lenient:
            left = self._service.usage.new_topics_left(self._sender.name, self._rights.limits)
            over = set(new[left:])
            if over:
                batch = batch.without(refused_new_topics(self._rights, batch.events, over))
            new = new[:left]
        elif new and not self._rights.limits.new_topics_per_day:
            # To wait would not help.
            refused = refused_new_topics(self._rights, batch.events, set(new))
            self._fail(refuse_events(list(refused.values())))
            return
        self._admit(batch, new)

    def _admit(self, batch: Batch, new_topics: list[str]) -> None:
        """Store events that are allowed, if they are within the limits of who sends them."""
        self._batch = batch
        events = batch.events
        limits = self._rights.limits
        try:
            # Before it counts: what finds no room is sent again.
            self._reservation.reserve(events=len(events))
            if limits is not NO_LIMITS:
                self._service.usage.admit(
                    self._sender.name,
                    limits,
                    events=len(events) + len(batch.rejected),
                    size=self._reservation.size,
                    new_topics=len(new_topics),
                )
                self._service.known_topics.add(new_topics)
        except Exception as error:  # noqa: BLE001 - no input may end without an answer
            self._fail(error)
            return
        if not events:
            # A lenient publish whose events were all rejected: nothing to store, all to tell.
            self._settle([])
            return
        try:
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

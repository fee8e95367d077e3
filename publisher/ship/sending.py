"""Records to an aggregator in order, and what is kept behind its acknowledgements."""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import aiohttp

from publisher.batching import Limits
from publisher.errors import EventRejected, PublishError
from publisher.events import EncodedEvent, now
from publisher.response import Outcome, Verdict
from publisher.retry import OnRetry, RetryPolicy, deliver
from publisher.ship.dead_letters import DeadLetter, DeadLetters
from publisher.ship.outgoing import Batch, Item, Origin, event_of, text_event_of
from publisher.ship.records.record import Record
from publisher.ship.totals import Totals

Tell = Callable[[str], None]
"""Tells people one sentence, without newline."""


class ShipStopped(Exception):
    """A request was not acknowledged; the message is one sentence: which file, where, and why."""


class Kept(NamedTuple):
    """How far an origin is acknowledged.

    Args:
        origin: the origin.
        mark: its last place; None: there is no news.
        refused: how many of its records were kept otherwise than the format makes them.
    """

    origin: Origin
    mark: object
    refused: int


class Keep(Protocol):
    """Keeps what is acknowledged, durably; called in a thread, one call at a time."""

    def begin(self, origins: Sequence[Origin]) -> None:
        """Write down origins before anything of them is sent."""

    def acknowledged(self, kept: Sequence[Kept]) -> None:
        """Write down how far origins are acknowledged."""


class Sender:
    """Sends records, one request behind the other.

    `send` and `run` are to run side by side.

    Args:
        url: of the aggregator, without `/publish`.
        topic: of the records that have none of their own.
        limits: of a request.
        policy: when a request is tried again.
        totals: counted up with every acknowledgement.
        keep: keeps what was acknowledged; None: nobody does.
        dead_letters: take the records that break a rule, in place of the aggregator.
        tell: told of every record that was not stored as it should be.
        on_bytes: told how many bytes of the files were acknowledged.
        on_retry: told of failed tries.
    """

    def __init__(
        self,
        url: str,
        topic: str,
        *,
        limits: Limits,
        policy: RetryPolicy,
        totals: Totals,
        keep: Keep | None,
        dead_letters: DeadLetters | None,
        tell: Tell,
        on_bytes: Callable[[int], None],
        on_retry: OnRetry,
    ) -> None:
        self._url = url
        self._topic = topic
        self._limits = limits
        self._policy = policy
        self._totals = totals
        self._keep = keep
        self._dead_letters = dead_letters
        self._tell = tell
        self._on_bytes = on_bytes
        self._on_retry = on_retry
        self._batch = Batch()
        self._full: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(1)

    async def send(self, origin: Origin, records: Iterable[Record], mark: object = None) -> None:
        """Send records of an origin, waiting while two requests wait already.

        Args:
            origin: where they come from.
            records: the records.
            mark: up to where the origin is acknowledged when they are; None if that is no news.
        """
        stamp = _stamp()
        longest, largest = self._limits.max_batch_events, self._limits.max_batch_bytes
        for record in records:
            event = None
            if not (record.refused and self._dead_letters):
                event = event_of(origin, record, self._topic, stamp)
            size_bytes = len(record.payload if event is None else event.line) + 1
            batch = self._batch
            if batch.items and (
                len(batch.items) >= longest or batch.size_bytes + size_bytes > largest
            ):
                await self.flush()
                batch = self._batch
            batch.items.append(Item(origin, record, event))
            batch.size_bytes += size_bytes
        if mark is not None:
            self._batch.marks.append((len(self._batch.items), origin, mark))

    async def flush(self) -> None:
        """Let go out what waits for others to share its request."""
        if self._batch.items or self._batch.marks:
            # Taken when there is room, so that a call that is cancelled meanwhile loses nothing.
            await self._room.acquire()
            batch, self._batch = self._batch, Batch()
            self._full.put_nowait(batch)

    async def end(self) -> None:
        """Let `run` return once all that was sent is acknowledged."""
        await self.flush()
        self._full.put_nowait(None)

    async def run(self) -> None:
        """Send the batches, and take in what becomes of them.

        Raises:
            ShipStopped: a request was refused or given up.
            CheckpointRefused, DeadLettersRefused: what was acknowledged can't be kept.
        """
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            while (batch := await self._full.get()) is not None:
                self._room.release()
                await self._deliver(session, batch)

    async def _deliver(self, session: aiohttp.ClientSession, batch: Batch) -> None:
        if self._keep is not None:
            origins = {id(item.origin): item.origin for item in batch.items}
            await asyncio.to_thread(self._keep.begin, list(origins.values()))
        events = [item.event for item in batch.items if item.event is not None]
        outcomes, failure = await self._outcomes(session, events)
        results = _results(batch.items, outcomes)
        if failure is None:
            failure = await self._send_rejected_as_text(session, batch.items, results)
        elif self._dead_letters is None:
            # What was rejected is not kept yet, so it is sent again, and all behind it.
            rejected = [place for place, result in enumerate(results) if result.rejected]
            del results[min(rejected, default=len(results)) :]
        dead = self._count(batch.items, results)
        if dead and self._dead_letters is not None:
            await asyncio.to_thread(self._dead_letters.add, dead)
        await self._acknowledge(batch, results)
        if failure is not None:
            first = batch.items[min(len(results), len(batch.items) - 1)]
            raise ShipStopped(
                f"{os.fspath(first.origin.path)!r} from byte {first.record.position:,} on was not "
                f"sent: {failure}"
            ) from failure

    async def _outcomes(
        self, session: aiohttp.ClientSession, events: Sequence[EncodedEvent]
    ) -> tuple[list[Outcome], PublishError | None]:
        if not events:
            return [], None
        return await deliver(
            session,
            self._url,
            events,
            policy=self._policy,
            on_retry=self._on_retry,
            give_up_at=asyncio.get_running_loop().time() + self._policy.deadline_s,
        )

    async def _send_rejected_as_text(
        self, session: aiohttp.ClientSession, items: Sequence[Item], results: "list[_Result]"
    ) -> PublishError | None:
        """Send what the aggregator rejected once more as text, unless there are dead letters."""
        if self._dead_letters is not None:
            return None
        places = [place for place, result in enumerate(results) if result.rejected]
        stamp = _stamp()
        events = [
            text_event_of(items[place].origin, items[place].record, self._topic, stamp)
            for place in places
        ]
        outcomes, failure = await self._outcomes(session, events)
        for place, outcome in zip(places, outcomes, strict=False):
            if isinstance(outcome, Verdict):
                results[place] = results[place]._replace(verdict=outcome)
            else:
                results[place] = results[place]._replace(rejected=str(outcome))
        if failure is not None:
            del results[places[len(outcomes)] :]
        return failure

    def _count(self, items: Sequence[Item], results: "Sequence[_Result]") -> list[DeadLetter]:
        """Count results, and return the dead letters among them."""
        totals = self._totals
        dead: list[DeadLetter] = []
        for item, result in zip(items, results, strict=False):
            record, verdict = item.record, result.verdict
            totals.lines += sum(line.begins for line in record.lines)
            reason = record.refused or result.rejected
            if verdict is None:
                if self._dead_letters is not None and not record.lines:
                    continue  # a part of a line that another record has whole
                totals.rejected += 1
                self._tell(f"{item.where} was not stored: {reason}")
                dead.append(DeadLetter.of(item.origin, record, reason))
                continue
            totals.times_unread += record.time_unread
            totals.take(verdict)
            if reason:
                totals.as_text += 1
                self._tell(f"{item.where} is stored as text: {reason}")
            if verdict.status == "conflict":
                self._tell(
                    f"{item.where} is in conflict: topic {verdict.topic!r} has another event with "
                    f"the id {verdict.event_id!r} at offset {verdict.offset:,}, which is kept"
                )
        return dead

    async def _acknowledge(self, batch: Batch, results: "Sequence[_Result]") -> None:
        refused: dict[int, int] = {}
        acknowledged_bytes = 0
        for item, result in zip(batch.items, results, strict=False):
            if item.record.refused or result.rejected:
                refused[id(item.origin)] = refused.get(id(item.origin), 0) + 1
            for line in item.record.lines:
                acknowledged_bytes += len(line.data) + len(line.eol)
        kept: dict[int, Kept] = {}
        for items_before, origin, mark in batch.marks:
            if items_before <= len(results):
                kept[id(origin)] = Kept(origin, mark, refused.get(id(origin), 0))
        for item in batch.items:
            if id(item.origin) in refused and id(item.origin) not in kept:
                kept[id(item.origin)] = Kept(item.origin, None, refused[id(item.origin)])
        if kept and self._keep is not None:
            await asyncio.to_thread(self._keep.acknowledged, list(kept.values()))
        self._on_bytes(acknowledged_bytes)


class _Result(NamedTuple):
    """What became of a record: neither for a dead letter."""

    verdict: Verdict | None
    rejected: str


def _results(items: Sequence[Item], outcomes: Sequence[Outcome]) -> list[_Result]:
    """Return the results of the first items, up to one that has no outcome."""
    results: list[_Result] = []
    left = iter(outcomes)
    for item in items:
        outcome = None if item.event is None else next(left, None)
        if item.event is not None and outcome is None:
            break
        if isinstance(outcome, EventRejected):
            results.append(_Result(None, str(outcome)))
        else:
            results.append(_Result(outcome, ""))
    return results


def _stamp() -> str:
    return now().isoformat(timespec="microseconds").replace("+00:00", "Z")

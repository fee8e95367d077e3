"""Records to an aggregator in order, and what is kept behind its acknowledgements."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import aiohttp

from publisher.batching import Limits
from publisher.errors import EventRejected, PublishError
from publisher.events import EncodedEvent, now
from publisher.response import Outcome, Verdict
from publisher.retry import OnRetry, RetryPolicy, deliver
from publisher.ship.dead_letters import DeadLetter, DeadLetters
from publisher.ship.outgoing import Batch, Encoder, Item, Origin, text_event_of
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
        on_bytes: told how many bytes of the files were acknowledged; None: nobody is.
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
        on_bytes: Callable[[int], None] | None,
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
        encode = Encoder(origin, self._topic, _stamp()).event
        longest, largest = self._limits.max_batch_events, self._limits.max_batch_bytes
        batch = self._batch
        items, size_bytes = batch.items, batch.size_bytes
        for record in records:
            if record.refused and self._dead_letters is not None:
                event, event_bytes = None, len(record.payload)
            else:
                event = encode(record)
                event_bytes = len(event.line) + 1
            if items and (len(items) >= longest or size_bytes + event_bytes > largest):
                await self.flush()
                batch = self._batch
                items, size_bytes = batch.items, 0
            items.append(Item(origin, record, event))
            size_bytes += event_bytes
            batch.size_bytes = size_bytes
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
        reasons = {
            place: str(result)
            for place, result in enumerate(results)
            if isinstance(result, EventRejected)
        }
        if failure is None:
            failure = await self._send_as_text(session, batch.items, results, reasons)
        elif self._dead_letters is None and reasons:
            # What was rejected is not kept yet, so it is sent again, and all behind it.
            del results[min(reasons) :]
            reasons.clear()
        for place, item in enumerate(batch.items[: len(results)]):
            if item.record.refused:
                reasons.setdefault(place, item.record.refused)
        dead = self._count(batch.items, results, reasons)
        if dead and self._dead_letters is not None:
            await asyncio.to_thread(self._dead_letters.add, dead)
        await self._acknowledge(batch, len(results), reasons)
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

    async def _send_as_text(
        self,
        session: aiohttp.ClientSession,
        items: Sequence[Item],
        results: list[Outcome | None],
        rejected: dict[int, str],
    ) -> PublishError | None:
        """Send what the aggregator rejected once more as text, unless there are dead letters."""
        if self._dead_letters is not None or not rejected:
            return None
        stamp = _stamp()
        events = [
            text_event_of(items[place].origin, items[place].record, self._topic, stamp)
            for place in rejected
        ]
        outcomes, failure = await self._outcomes(session, events)
        for place, outcome in zip(rejected, outcomes, strict=False):
            results[place] = outcome
        if failure is not None:
            # What is behind the first that has no outcome is sent once more.
            first = list(rejected)[len(outcomes)]
            del results[first:]
            for place in [place for place in rejected if place >= first]:
                del rejected[place]
        return failure

    def _count(
        self, items: Sequence[Item], results: Sequence[Outcome | None], reasons: Mapping[int, str]
    ) -> list[DeadLetter]:
        """Count results, and return the dead letters among them.

        Args:
            items: the records.
            results: of the first of them; None: it is a dead letter.
            reasons: why some were not stored as they should be, by their place.
        """
        totals = self._totals
        dead: list[DeadLetter] = []
        for place, (item, verdict) in enumerate(zip(items, results, strict=False)):
            record = item.record
            lines = record.lines
            totals.lines += lines[0].begins if len(lines) == 1 else _lines(record)
            totals.times_unread += record.time_unread
            if not isinstance(verdict, Verdict):
                if not lines and self._dead_letters is not None:
                    continue  # a part of a line that another record has whole
                totals.rejected += 1
                self._tell(f"{item.where} was not stored: {reasons[place]}")
                if self._dead_letters is not None:
                    dead.append(DeadLetter.of(item.origin, record, reasons[place]))
                continue
            totals.take(verdict)
            if place in reasons:
                totals.as_text += 1
                self._tell(f"{item.where} is stored as text: {reasons[place]}")
            if verdict.status == "conflict":
                self._tell(
                    f"{item.where} is in conflict: topic {verdict.topic!r} has another event with "
                    f"the id {verdict.event_id!r} at offset {verdict.offset:,}, which is kept"
                )
        return dead

    async def _acknowledge(self, batch: Batch, done: int, reasons: Mapping[int, str]) -> None:
        """Keep how far origins are acknowledged, when so many items of a batch are."""
        refused = Counter(id(batch.items[place].origin) for place in reasons)
        kept: dict[int, Kept] = {}
        for place in reasons:
            origin = batch.items[place].origin
            kept[id(origin)] = Kept(origin, None, refused[id(origin)])
        for items_before, origin, mark in batch.marks:
            if items_before <= done:
                kept[id(origin)] = Kept(origin, mark, refused[id(origin)])
        if kept and self._keep is not None:
            await asyncio.to_thread(self._keep.acknowledged, list(kept.values()))
        if self._on_bytes is not None:
            lines = (line for item in batch.items[:done] for line in item.record.lines)
            self._on_bytes(sum(len(line.data) + len(line.eol) for line in lines))


def _results(items: Sequence[Item], outcomes: Sequence[Outcome]) -> list[Outcome | None]:
    """Return the outcomes of the first items, None for a dead letter, up to one without."""
    if len(outcomes) == len(items):
        return list(outcomes)
    results: list[Outcome | None] = []
    left = iter(outcomes)
    for item in items:
        outcome = None if item.event is None else next(left, None)
        if item.event is not None and outcome is None:
            break
        results.append(outcome)
    return results


def _lines(record: Record) -> int:
    return sum(line.begins for line in record.lines)


def _stamp() -> str:
    return now().isoformat(timespec="microseconds").replace("+00:00", "Z")

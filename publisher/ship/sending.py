"""Records to an aggregator in order, and what becomes of them."""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence

import aiohttp

from publisher.batching import Limits
from publisher.credentials import NO_CREDENTIALS, Credentials
from publisher.errors import EventRejected, PublishError
from publisher.events import EncodedEvent, now
from publisher.response import Outcome
from publisher.retry import OnRetry, RetryPolicy, deliver
from publisher.ship.bookkeeping import Answered, Bookkeeper, Keep, Tell
from publisher.ship.dead_letters import DeadLetters
from publisher.ship.outgoing import Batch, Encoder, Item, Origin, text_event_of
from publisher.ship.records.record import Record
from publisher.ship.totals import Totals


class ShipStopped(Exception):
    """A request was not acknowledged; the message is one sentence: which file, where, and why."""


class Sender:
    """Sends records, one request behind the other.

    `send` and `run` are to run side by side. What became of one request is counted and kept while
    the next one is under way.

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
        credentials: what is shown with each request.
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
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        self._url = url
        self._topic = topic
        self._limits = limits
        self._policy = policy
        self._dead_letters = dead_letters
        self._on_retry = on_retry
        self._credentials = credentials
        self._bookkeeper = Bookkeeper(totals, keep, dead_letters, tell, on_bytes)
        self._batch = Batch()
        self._full: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(1)
        self._answered: Answered | None = None
        """What is not counted and kept yet."""

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
        async with aiohttp.ClientSession(connector=self._credentials.connector(1)) as session:
            while (batch := await self._full.get()) is not None:
                self._room.release()
                await self._deliver(session, batch)
            await self._take_in()

    async def _deliver(self, session: aiohttp.ClientSession, batch: Batch) -> None:
        await self._bookkeeper.begin(batch.items)
        events = [item.event for item in batch.items if item.event is not None]
        request = asyncio.create_task(self._outcomes(session, events))
        try:
            await self._take_in()
            outcomes, failure = await request
        finally:
            request.cancel()
            await asyncio.wait({request})
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
        self._answered = Answered(batch, results, reasons)
        if failure is not None or self._full.empty():
            await self._take_in()
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
            credentials=self._credentials,
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

    async def _take_in(self) -> None:
        """Count and keep what became of the last batch."""
        if self._answered is None:
            return
        answered, self._answered = self._answered, None
        # The next request goes out first.
        await asyncio.sleep(0)
        await self._bookkeeper.take_in(answered)


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


def _stamp() -> str:
    return now().isoformat(timespec="microseconds").replace("+00:00", "Z")

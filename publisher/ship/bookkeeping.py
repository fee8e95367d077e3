"""What is counted, told and kept of records that an aggregator has answered."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from publisher.response import Outcome, Verdict
from publisher.ship.dead_letters import DeadLetter, DeadLetters
from publisher.ship.outgoing import Batch, Item, Origin
from publisher.ship.records.record import Record
from publisher.ship.totals import Totals

Tell = Callable[[str], None]
"""Tells people one sentence, without newline."""


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


class Answered(NamedTuple):
    """A batch with what became of its first items.

    Args:
        batch: the batch.
        results: of the first of its items; None: it is a dead letter.
        reasons: why some were not stored as they should be, by their place.
    """

    batch: Batch
    results: Sequence[Outcome | None]
    reasons: Mapping[int, str]


class Keep(Protocol):
    """Keeps what is acknowledged, durably; called in a thread, one call at a time.

    It raises CheckpointRefused if it can't.
    """

    def begin(self, origins: Sequence[Origin]) -> None:
        """Write down origins before anything of them is sent."""

    def acknowledged(self, kept: Sequence[Kept]) -> None:
        """Write down how far origins are acknowledged."""


class Bookkeeper:
    """Counts records and keeps how far their origins are acknowledged.

    Args:
        totals: counted up with every answer.
        keep: keeps what was acknowledged; None: nobody does.
        dead_letters: take the records that break a rule, in place of the aggregator.
        tell: told of every record that was not stored as it should be.
        on_bytes: told how many bytes of the files were acknowledged; None: nobody is.
    """

    def __init__(
        self,
        totals: Totals,
        keep: Keep | None,
        dead_letters: DeadLetters | None,
        tell: Tell,
        on_bytes: Callable[[int], None] | None,
    ) -> None:
        self._totals = totals
        self._keep = keep
        self._dead_letters = dead_letters
        self._tell = tell
        self._on_bytes = on_bytes

    async def begin(self, items: Iterable[Item]) -> None:
        """Write down the origins of records before these are sent.

        Raises:
            CheckpointRefused: they can't be kept.
        """
        if self._keep is not None:
            origins = {id(item.origin): item.origin for item in items}
            await asyncio.to_thread(self._keep.begin, list(origins.values()))

    async def take_in(self, answered: Answered) -> None:
        """Count what became of a batch, and keep it.

        Raises:
            CheckpointRefused, DeadLettersRefused: it can't be kept.
        """
        dead = self._count(answered)
        if dead and self._dead_letters is not None:
            await asyncio.to_thread(self._dead_letters.add, dead)
        await self._acknowledge(answered)

    def _count(self, answered: Answered) -> list[DeadLetter]:
        """Count results, and return the dead letters among them."""
        totals = self._totals
        dead: list[DeadLetter] = []
        reasons = answered.reasons
        for place, (item, verdict) in enumerate(
            zip(answered.batch.items, answered.results, strict=False)
        ):
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

    async def _acknowledge(self, answered: Answered) -> None:
        """Keep how far origins are acknowledged."""
        batch, results, reasons = answered
        refused = Counter(id(batch.items[place].origin) for place in reasons)
        kept: dict[int, Kept] = {}
        for place in reasons:
            origin = batch.items[place].origin
            kept[id(origin)] = Kept(origin, None, refused[id(origin)])
        for items_before, origin, mark in batch.marks:
            if items_before <= len(results):
                kept[id(origin)] = Kept(origin, mark, refused[id(origin)])
        if kept and self._keep is not None:
            await asyncio.to_thread(self._keep.acknowledged, list(kept.values()))
        if self._on_bytes is not None:
            lines = (line for item in batch.items[: len(results)] for line in item.record.lines)
            self._on_bytes(sum(len(line.data) + len(line.eol) for line in lines))


def _lines(record: Record) -> int:
    return sum(line.begins for line in record.lines)

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
        self._cut: tuple[int, int] | None = None
        """The origin, and where the next part begins, of a line that was told of."""

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
        if self._dead_letters is not None and (dead := _dead_letters(answered)):
            # Counted and told of when they are kept: nothing else has them.
            await asyncio.to_thread(self._dead_letters.add, dead)
        self._count(answered)
        await self._acknowledge(answered)

    def _count(self, answered: Answered) -> None:
        """Count results, and tell of those that are not as they should be."""
        totals = self._totals
        reasons = answered.reasons
        for place, (item, verdict) in enumerate(
            zip(answered.batch.items, answered.results, strict=False)
        ):
            record = item.record
            lines = record.lines
            totals.lines += lines[0].begins if len(lines) == 1 else _lines(record)
            totals.times_unread += record.time_unread
            is_more = place in reasons and self._is_more_of_a_line(item)
            if not isinstance(verdict, Verdict):
                # A part that is not kept is lost, whatever became of the others.
                if self._dead_letters is None or not is_more:
                    totals.rejected += 1
                    self._tell(f"{item.where} was not stored: {reasons[place]}")
                continue
            totals.take(verdict)
            if place in reasons and not is_more:
                totals.as_text += 1
                self._tell(f"{item.where} is stored as text: {reasons[place]}")
            if verdict.status == "conflict":
                at = f" at offset {verdict.offset:,}" if verdict.offset else ""
                self._tell(
                    f"{item.where} is in conflict: topic {verdict.topic!r} has another event with "
                    f"the id {verdict.event_id!r}{at}, which is kept"
                )

    def _is_more_of_a_line(self, item: Item) -> bool:
        """Tell whether a record is a further part of a refused line that was told of.

        A line that no event has room for is cut, and refused in each of its parts.
        """
        origin, record, _ = item
        if not record.refused:
            return False
        if not record.lines:
            return True  # the last part of these has the line
        first, last = record.lines[0], record.lines[-1]
        is_more = not first.begins and self._cut == (id(origin), first.position)
        end = last.position + len(last.data) + len(last.eol)
        self._cut = (id(origin), end) if not last.eol else None
        return is_more

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


def _dead_letters(answered: Answered) -> list[DeadLetter]:
    return [
        DeadLetter.of(item.origin, item.record, answered.reasons[place])
        for place, (item, verdict) in enumerate(
            zip(answered.batch.items, answered.results, strict=False)
        )
        # Parts without lines are those of a line that another record has whole.
        if not isinstance(verdict, Verdict) and item.record.lines
    ]


def _lines(record: Record) -> int:
    return sum(line.begins for line in record.lines)

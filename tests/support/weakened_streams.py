"""Streams that trust the flush, and readers that go by time: what tests must see fail."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import pytest

from aggregator.live.heads import HeadWatch, WatchedTopic
from aggregator.live.log_chunks import LogChunk
from aggregator.live.next_chunk import NextChunk
from aggregator.live.places import Place
from aggregator.live.tails import Tail
from storage.model import Status, Verdict
from support.stream_model import CheckedReader


def trust_the_flush(patch: pytest.MonkeyPatch) -> None:
    """Have tails take what a flush has stored for all that is new, and streams what tails have."""
    flushed: dict[WatchedTopic, int] = {}
    newest: dict[Tail, LogChunk] = {}
    observe, read, fetch = HeadWatch.observe, Tail._read, NextChunk.fetch

    def observed(
        self: HeadWatch, verdicts: Sequence[Verdict], counted: Iterable[tuple[str, Status]]
    ) -> None:
        for verdict in reversed(verdicts):
            if verdict.status is Status.STORED and verdict.topic in self._topics:
                flushed[self._topics[verdict.topic]] = verdict.offset
        observe(self, verdicts, counted)

    async def read_what_was_flushed(self: Tail) -> None:
        first = flushed.pop(self._watched, None)
        if first is not None:
            # The place is that of the flush, whatever was committed elsewhere before it.
            self.position = first - 1
        after = self.position
        await read(self)
        if (chunk := self._chunks.kept(self._form, self.topic, after)) is not None:
            newest[self] = chunk

    async def take_what_the_tail_has(self: NextChunk, place: Place) -> None:
        chunk = newest.get(place.tail)
        if chunk is not None and chunk.last > place.offset and place.offset:
            self.chunk = chunk
        else:
            await fetch(self, place)

    patch.setattr(HeadWatch, "observe", observed)
    patch.setattr(Tail, "_read", read_what_was_flushed)
    patch.setattr(NextChunk, "fetch", take_what_the_tail_has)


class ReaderThatGoesByTime(CheckedReader):
    """It goes on behind the time at which its last event was stored."""

    def parameters(self) -> dict[str, object]:
        """See `FollowingReader`."""
        times = [event["ts_ingest"] for given in self.events.values() for event in given]
        return {"since": just_behind(max(times))} if times else self.begin

    def headers(self) -> dict[str, str]:
        """See `FollowingReader`."""
        return {}


def just_behind(time: str) -> str:
    """The time a microsecond later."""
    return (datetime.fromisoformat(time) + timedelta(microseconds=1)).isoformat()

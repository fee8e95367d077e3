"""Chunks of the log: read once for all who want them, kept within a bound, sorted by source."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.live import log_chunks
from aggregator.live.log_chunks import Form, LogChunk, LogChunks
from aggregator.reading.read_memory import ReadMemory
from aggregator.wire.event_encoding import escape_name
from storage.errors import PayloadOverLimit, StorageUnavailable
from storage.model import EventColumns, Page, Query
from storage.protocols import EventReader

_NAMES = st.lists(
    st.sampled_from(['"', "\\", "Z", ",", ":", "s", "source", "payload", "é"]),
    min_size=1,
    max_size=6,
).map("".join)
_PAYLOADS = st.sampled_from(
    ["{}", '{"a":"Z","source":"s","payload":{"b":1}}', '{"x":"\\",\\"payload\\":"}', '{\n"a" : 1}']
)


def columns(events: list[tuple[str, str, str]], first: int = 1) -> EventColumns:
    """Events of ids, sources and payloads, with consecutive offsets."""
    count = len(events)
    ids, sources, payloads = ([each[n].encode() for each in events] for n in range(3))
    offsets = list(range(first, first + count))
    return EventColumns([b"t"] * count, offsets, ids, [0] * count, [0] * count, sources, payloads)


@pytest.mark.parametrize("form", Form)
@given(events=st.lists(st.tuples(_NAMES, _NAMES, _PAYLOADS), min_size=1, max_size=6))
def test_the_events_of_a_source_are_those_that_have_it(
    form: Form, events: list[tuple[str, str, str]]
) -> None:
    chunk = LogChunk(0, len(events), len(events), form.encode(columns(events)), form)
    assert chunk.events(None) == (chunk.pieces, len(events))
    for source in {each[1] for each in events}:
        wanted = [n for n, each in enumerate(events) if each[1] == source]
        expected = b"".join(form.encode(columns([events[n]], n + 1)) for n in wanted)
        found, count = chunk.events(escape_name(source.encode()))
        assert (bytes(found), count) == (expected, len(wanted))
    nothing, count = chunk.events(b"none")
    assert (bytes(nothing), nothing.size, count) == (b"", 0, 0)


class Log:
    """A store of one topic, whose reads wait at a gate."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.payload = "{}"
        self.error: Exception | None = None
        self.asked: list[Query] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, query: Query, encode: Callable[[EventColumns], bytes]) -> Page[bytes]:
        self.asked.append(query)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        size = len(self.payload)
        if size > query.max_payload_bytes:
            raise PayloadOverLimit(size)
        last = min(self.count, query.after + query.limit)
        events = [(f"e-{n}", "s", self.payload) for n in range(query.after, last)]
        parts = [encode(columns(events, query.after + 1))] if events else []
        return Page(parts, len(events), None, self.count)


class Rig:
    """Chunks of that log."""

    def __init__(self, max_bytes: int = 10**6) -> None:
        self.log = Log(10)
        store = cast("EventReader", self.log)
        self.chunks = LogChunks(store, ReadMemory(10**9), max_bytes)

    async def chunk(self, after: int, form: Form = Form.BLOCKS) -> LogChunk:
        return await self.chunks.chunk(form, "t", after)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    rig.log.gate.set()
    await rig.chunks.aclose()


async def test_all_who_want_a_chunk_share_one_read(rig: Rig) -> None:
    rig.log.gate.clear()
    asked = [asyncio.create_task(rig.chunk(3)) for _ in range(5)]
    await asyncio.sleep(0)
    asked[0].cancel()
    await asyncio.sleep(0)
    rig.log.gate.set()
    chunks = {id(chunk) for chunk in await asyncio.gather(*asked[1:])}
    assert len(chunks) == 1
    assert (await rig.chunk(3)).last == 10
    assert len(rig.log.asked) == 1
    # Another form is encoded from rows of its own.
    assert bytes((await rig.chunk(3, Form.LINES)).pieces).count(b"\n") == 7
    assert len(rig.log.asked) == 2


async def test_chunks_end_at_the_same_places_wherever_one_begins(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_chunks, "_GRID", 4)
    ends = {after: (await rig.chunk(after)).last for after in range(10)}
    assert ends == {0: 4, 1: 4, 2: 4, 3: 4, 4: 8, 5: 8, 6: 8, 7: 8, 8: 10, 9: 10}
    nothing = await rig.chunk(10)
    assert (nothing.last, nothing.pieces.size, nothing.head) == (10, 0, 10)
    rig.log.count = 11
    # That there was nothing is not kept.
    assert (await rig.chunk(10)).last == 11
    assert (await rig.chunk(8)).last == 10


async def test_what_was_wanted_longest_ago_is_dropped_first() -> None:
    rig = Rig(max_bytes=1200)
    for after in range(10):
        await rig.chunk(after)
        assert rig.chunks.bytes <= 1200

    def kept() -> list[int]:
        return [after for after in range(10) if rig.chunks.kept(Form.BLOCKS, "t", after)]

    assert kept() == [7, 8, 9]
    rig.chunks.kept(Form.BLOCKS, "t", 7)
    await rig.chunk(6)
    assert rig.chunks.bytes <= 1200
    assert kept() == [6, 7]
    # One that is larger than all that may be kept is given all the same.
    assert (await rig.chunk(0)).last == 10
    assert kept() == [6, 7]


async def test_what_fails_fails_for_all_and_is_read_again(rig: Rig) -> None:
    rig.log.error = StorageUnavailable("it is gone")
    failed = await asyncio.gather(rig.chunk(0), rig.chunk(0), return_exceptions=True)
    assert [str(error) for error in failed] == ["it is gone"] * 2
    rig.log.error = None
    assert (await rig.chunk(0)).last == 10
    assert len(rig.log.asked) == 2


async def test_a_payload_larger_than_expected_is_read_with_more_memory(rig: Rig) -> None:
    rig.log.payload = '{"a":"%s"}' % ("x" * 2**21)
    assert (await rig.chunk(9)).last == 10
    sizes = [query.max_payload_bytes for query in rig.log.asked]
    assert sizes[0] < sizes[1] == len(rig.log.payload)


async def test_what_is_forgotten_is_read_again_also_if_it_was_being_read(rig: Rig) -> None:
    await rig.chunk(0)
    rig.log.gate.clear()
    old = asyncio.create_task(rig.chunk(5))
    await asyncio.sleep(0)
    rig.chunks.forget("t")
    assert rig.chunks.bytes == 0
    new = asyncio.create_task(rig.chunk(5))
    await asyncio.sleep(0)
    rig.log.gate.set()
    assert await old is not await new
    assert await rig.chunk(5) is await new
    await rig.chunk(0)
    assert len(rig.log.asked) == 4


async def test_reading_ahead_reads_once_and_not_much_at_a_time(rig: Rig) -> None:
    rig.log.gate.clear()
    for after in range(10):
        rig.chunks.read_ahead(Form.BLOCKS, "t", after, 10)
    rig.log.gate.set()
    assert (await rig.chunk(0)).last == 10
    rig.chunks.read_ahead(Form.BLOCKS, "t", 0, 10)
    assert len(rig.log.asked) <= 4


@pytest.mark.parametrize(
    ("after", "asked"),
    [(0, [0, 4]), (4, [4, 8]), (8, [8]), (3, [3]), (9, [9])],
    ids=str,
)
async def test_two_chunks_are_read_ahead_where_it_is_known_where_they_begin(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, after: int, asked: list[int]
) -> None:
    monkeypatch.setattr(log_chunks, "_GRID", 4)
    rig.chunks.read_ahead(Form.BLOCKS, "t", after, rig.log.count)
    chunks = [await rig.chunk(each) for each in asked]
    assert [query.after for query in rig.log.asked] == asked
    assert [one.last for one in chunks[:-1]] == [other.after for other in chunks[1:]]


async def test_closing_ends_reads_under_way(rig: Rig) -> None:
    rig.log.gate.clear()
    asked: asyncio.Task[Any] = asyncio.create_task(rig.chunk(0))
    await asyncio.sleep(0)
    await rig.chunks.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asked

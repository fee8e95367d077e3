"""A stream of events gives the same bytes, whatever is dropped on the way and read again."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.in_process import InProcessStore

from aggregator.reading import event_stream, stream_limit
from aggregator.reading.event_stream import EventStream
from aggregator.reading.read_memory import ReadMemory
from aggregator.reading.stream_limit import StreamLimit
from aggregator.wire.event_encoding import encode_lines
from storage.model import INT64_MAX, Event, Query

TOPICS = ["a", "b"]
SOURCES = ["s", "t"]

_queries = st.builds(
    Query,
    topic=st.sampled_from([None, *TOPICS]),
    source=st.sampled_from([None, *SOURCES]),
    newest_first=st.booleans(),
    limit=st.sampled_from([1, 5, INT64_MAX]),
)
_events = st.lists(
    st.tuples(st.sampled_from(TOPICS), st.sampled_from(SOURCES), st.integers(0, 300)),
    max_size=30,
)


async def append(store: InProcessStore, events: list[tuple[str, str, int]], first: int) -> None:
    if events:
        await store.append(
            [
                Event(topic, f"e-{number}", 0, source, '{"t":"%s"}' % ("x" * size))
                for number, (topic, source, size) in enumerate(events, first)
            ]
        )


@pytest.mark.timeout(300)
@settings(
    max_examples=settings().max_examples // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    events=_events,
    later=_events,
    query=_queries,
    drops=st.lists(st.none() | st.integers(0, 6), max_size=40),
    piece_bytes=st.integers(50, 800),
    page_events=st.integers(1, 5),
)
@example(
    events=[("a", "s", 10)] * 12, later=[("a", "s", 10)] * 5, piece_bytes=800, page_events=2,
    query=Query(newest_first=False, limit=INT64_MAX), drops=[6] * 40,
)  # fmt: skip
@example(
    events=[("a", "s", 10)] * 12, later=[("a", "s", 10)] * 5, piece_bytes=100, page_events=2,
    query=Query(topic="a", newest_first=False, limit=INT64_MAX), drops=[*range(7)] * 6,
)  # fmt: skip
def test_what_is_dropped_comes_again_and_what_comes_later_does_not(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    events: list[tuple[str, str, int]],
    later: list[tuple[str, str, int]],
    query: Query,
    drops: list[int | None],
    piece_bytes: int,
    page_events: int,
) -> None:
    monkeypatch.setattr(event_stream, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(stream_limit, "_MIN_PAGE_BYTES", page_events * 256)
    monkeypatch.setattr(stream_limit, "_MAX_PAGE_BYTES", page_events * 256)
    path = tmp_path_factory.mktemp("stream") / "log.db"
    asyncio.run(_hold(path, events, later, query, drops))


async def _hold(
    path: Path,
    events: list[tuple[str, str, int]],
    later: list[tuple[str, str, int]],
    query: Query,
    drops: list[int | None],
) -> None:
    store = InProcessStore(path)
    await store.open()
    try:
        await append(store, events, 0)
        page = await store.read(query, encode_lines)
        limit, memory = StreamLimit(1, 2**20), ReadMemory(2**20)
        stream = EventStream(store, query, limit, memory)
        await stream.open()
        await append(store, later, len(events))
        taken = b""
        remaining = iter(drops)
        while (piece := await stream.piece()) is not None:
            taken += piece
            turns = next(remaining, None)
            if turns is not None:
                # The page behind it may be under way by then, or be there.
                for _ in range(turns):
                    await asyncio.sleep(0)
                stream.drop()
                assert stream.held <= len(piece)
        assert taken == b"".join(page.parts)
        assert stream.events == limit.events == page.count
        stream.close()
        assert (stream.held, limit.open, memory.bytes) == (0, 0, 0)
    finally:
        await store.aclose()

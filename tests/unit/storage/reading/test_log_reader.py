"""Pages, however small, put together give exactly the log that was asked for."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import Database
from support.clocks import shift_clock
from support.events import event
from support.observer import Observer, StoredRow
from support.reading import LogEvent, read_page

from storage.errors import StorageError
from storage.model import Query
from storage.protocols import EventStore
from storage.reading import log_reader

_TOPICS = ["a", "b", "C"]
_SOURCES = ["common", "rare", "never"]


class Log:
    """A store with a log in it in which times repeat, and what the log holds."""

    def __init__(self, store: EventStore, rows: list[StoredRow], runner: asyncio.Runner) -> None:
        self.store = store
        self.rows = rows
        self.runner = runner
        self.times = sorted({row.ts_ingest_us for row in rows})


@pytest.fixture
def log(database: Database) -> Iterator[Log]:
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        store = database.in_process_store(readers=1)
        rows = runner.run(_fill(database, store, stack))
        yield Log(store, rows, runner)
        runner.run(stack.aclose())


async def _fill(database: Database, store: EventStore, stack: AsyncExitStack) -> list[StoredRow]:
    stack.push_async_callback(store.aclose)
    await store.open()
    with pytest.MonkeyPatch.context() as patch:
        # Batches share a time, the first three are an hour apart, and the clock steps back.
        for number, hours in enumerate([0, 1, 2, 0, 0, 3]):
            shift_clock(patch, hours * 3600)
            await store.append(
                [
                    event(topic, f"{number}-{i}", f'{{"n":{i}}}', "rare" if i == 4 else "common")
                    for topic in _TOPICS[: 1 + number % 3]
                    for i in range(5)
                ]
            )
    observer = await stack.enter_async_context(Observer.on(database))
    return (await observer.snapshot()).rows


def _expected(rows: list[StoredRow], query: Query) -> list[StoredRow]:
    found = [
        row
        for row in rows
        if query.topic in {None, row.topic}
        and query.source in {None, row.source}
        and (query.since_us is None or query.since_us <= row.ts_ingest_us)
        and (query.until_us is None or row.ts_ingest_us < query.until_us)
        and row.offset > query.after
    ]
    return sorted(
        found,
        key=lambda row: (row.ts_ingest_us, row.topic.encode(), row.offset),
        reverse=query.newest_first,
    )


async def _pages(store: EventStore, query: Query) -> AsyncIterator[Sequence[LogEvent]]:
    for _page in range(1000):
        page = await read_page(store, query)
        yield page.events
        if page.next is None:
            return
        query = msgspec.structs.replace(query, position=page.next)
    raise AssertionError("the pages have no end")


async def _all(store: EventStore, query: Query) -> list[tuple[str, int, int]]:
    return [
        (e.topic, e.offset, e.ts_ingest_us) async for page in _pages(store, query) for e in page
    ]


@pytest.mark.timeout(1200)
def test_following_the_pages_gives_what_was_asked_for_once_and_in_order(log: Log) -> None:
    edges = st.sampled_from(log.times).flatmap(lambda t: st.sampled_from([t - 1, t, t + 1]))
    queries = st.sampled_from([None, *_TOPICS, "unknown"]).flatmap(
        lambda topic: st.builds(
            Query,
            topic=st.just(topic),
            source=st.none() | st.sampled_from(_SOURCES),
            since_us=st.none() | edges,
            until_us=st.none() | edges,
            after=st.integers(0, 31) if topic else st.just(0),
            newest_first=st.booleans(),
            limit=st.integers(1, 12),
        )
    )

    @settings(max_examples=settings().max_examples * 2)
    @given(queries, st.integers(1, 12), st.sampled_from([1, 20, 10**6]))
    def holds(query: Query, scan_rows: int, page_bytes: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(log_reader, "SCAN_ROWS", scan_rows)
            limited = msgspec.structs.replace(query, max_bytes=page_bytes)
            got = log.runner.run(_all(log.store, limited))
        assert got == [(r.topic, r.offset, r.ts_ingest_us) for r in _expected(log.rows, query)]

    holds()


def test_the_log_has_times_that_repeat_and_differ(log: Log) -> None:
    per_topic = {topic: [r for r in log.rows if r.topic == topic] for topic in _TOPICS}
    assert {topic: len(rows) for topic, rows in per_topic.items()} == {"a": 30, "b": 20, "C": 10}
    assert len({row.ts_ingest_us for row in per_topic["a"]}) >= 4
    hour_us = 3_600_000_000
    assert log.times[-1] - log.times[0] >= 3 * hour_us


@pytest.mark.parametrize("topic", [None, "a"])
def test_a_page_ends_behind_the_event_that_takes_it_past_its_bytes(
    log: Log, topic: str | None
) -> None:
    query = Query(topic=topic, limit=100, max_bytes=3 * len('{"n":0}') - 1)
    page = log.runner.run(read_page(log.store, query))
    assert len(page.events) == 3
    assert page.next is not None


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("topic", [None, "a"])
def test_a_filter_that_finds_nothing_looks_at_a_bounded_number_of_rows_a_page(
    log: Log, monkeypatch: pytest.MonkeyPatch, topic: str | None, newest_first: bool
) -> None:
    monkeypatch.setattr(log_reader, "SCAN_ROWS", 7)
    query = Query(topic=topic, source="never", newest_first=newest_first)
    rows = len(_expected(log.rows, Query(topic=topic)))

    async def count() -> int:
        return len([page async for page in _pages(log.store, query)])

    assert log.runner.run(count()) >= rows // 7


def test_a_hole_in_a_topic_is_an_error_and_not_a_wrong_page(log: Log, database: Database) -> None:
    async def read() -> None:
        async with Observer.on(database) as observer:
            await observer.fetch("DELETE FROM events WHERE topic = 'a' AND \"offset\" = 16")
        await read_page(log.store, Query(topic="a", since_us=log.times[1]))

    with pytest.raises(StorageError, match="lacks an offset"):
        log.runner.run(read())

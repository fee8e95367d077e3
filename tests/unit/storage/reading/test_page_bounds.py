"""Where a page begins and ends, to the row: at each time, at the log's ends, at each bound."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
from support.backends import Database
from support.clocks import shift_clock
from support.events import event
from support.observer import Observer, StoredRow
from support.reading import EventPage, read_page

from storage.model import Position, Query
from storage.protocols import EventStore
from storage.reading import log_reader

LIMIT = 4
SCAN_ROWS = 3
PAYLOAD = "{}"
SIZES = {"C": 4, "a": 12, "b": 5}


class Log:
    """A store with a log of three topics, four times each an hour apart, and its rows in order."""

    def __init__(self, store: EventStore, rows: list[StoredRow], runner: asyncio.Runner) -> None:
        self._store = store
        self._runner = runner
        self.rows = sorted(rows, key=lambda row: (row.ts_ingest_us, row.topic, row.offset))
        self.times = sorted({row.ts_ingest_us for row in rows})

    def pages(self, query: Query) -> list[EventPage]:
        """Every page, from the first to the one that says it is the last."""
        return self._runner.run(self._pages(query))

    async def _pages(self, query: Query) -> list[EventPage]:
        pages = [await read_page(self._store, query)]
        while (position := pages[-1].next) is not None:
            assert len(pages) <= len(self.rows), "the pages have no end"
            pages.append(
                await read_page(self._store, msgspec.structs.replace(query, position=position))
            )
        return pages

    def expected(self, query: Query) -> list[StoredRow]:
        """The rows a query asks for, in its order."""
        found = [
            row
            for row in self.rows
            if query.topic in {None, row.topic}
            and query.source in {None, row.source}
            and (query.since_us is None or query.since_us <= row.ts_ingest_us)
            and (query.until_us is None or row.ts_ingest_us < query.until_us)
            and row.offset > query.after
        ]
        return found[::-1] if query.newest_first else found


@pytest.fixture
def log(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    with asyncio.Runner() as runner:
        store = database.in_process_store(readers=1)
        rows = runner.run(fill(database, store))
        monkeypatch.setattr(log_reader, "SCAN_ROWS", SCAN_ROWS)
        yield Log(store, rows, runner)
        runner.run(store.aclose())


async def fill(database: Database, store: EventStore) -> list[StoredRow]:
    await store.open()
    with pytest.MonkeyPatch.context() as patch:
        for hour in range(4):
            shift_clock(patch, hour * 3600)
            await store.append(
                [
                    event(topic, f"{n}", PAYLOAD, "odd" if n % 2 else "even")
                    for topic, size in SIZES.items()
                    for n in range(size)
                    if n % 4 == hour
                ]
            )
    async with Observer.on(database) as observer:
        return (await observer.snapshot()).rows


@pytest.fixture
def spans(log: Log) -> list[tuple[int | None, int | None]]:
    first, second, *_, last = log.times
    edges = [first, second, second + 1, last, last + 1]
    return [
        (None, None),
        *((edge, None) for edge in edges),
        *((None, edge) for edge in edges),
        (second, last),
    ]


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("source", [None, "odd"])
@pytest.mark.parametrize(
    ("topic", "after"), [(None, 0), ("a", 0), ("a", 11), ("C", 3), ("unknown", 0)]
)
def test_pages_begin_and_end_at_the_right_row(
    log: Log,
    spans: list[tuple[int | None, int | None]],
    topic: str | None,
    after: int,
    source: str | None,
    newest_first: bool,
) -> None:
    for since_us, until_us in spans:
        query = Query(
            topic=topic, source=source, since_us=since_us, until_us=until_us, after=after,
            newest_first=newest_first, limit=LIMIT,
        )  # fmt: skip
        pages = log.pages(query)
        got = [(e.topic, e.offset) for page in pages for e in page.events]
        expected = log.expected(query)
        assert got == [(row.topic, row.offset) for row in expected], query
        if source is None:
            # Full but for the last, which is not empty unless it is alone.
            sizes = [len(page.events) for page in pages]
            full, rest = divmod(len(expected), LIMIT)
            assert sizes == ([LIMIT] * full + ([rest] if rest else []) or [0]), query


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize(("topic", "rows"), [(None, 21), ("a", 12), ("b", 5)])
def test_a_page_looks_at_so_many_rows_and_no_fewer(
    log: Log, topic: str | None, rows: int, newest_first: bool
) -> None:
    pages = log.pages(Query(topic=topic, source="never", newest_first=newest_first))
    assert len(pages) == -(-rows // SCAN_ROWS)


@pytest.mark.parametrize("page_bytes", [3 * len(PAYLOAD) - 1, 3 * len(PAYLOAD)])
@pytest.mark.parametrize("topic", [None, "a"])
def test_a_page_ends_behind_the_event_that_fills_its_bytes(
    log: Log, topic: str | None, page_bytes: int
) -> None:
    sizes = [len(page.events) for page in log.pages(Query(topic=topic, max_bytes=page_bytes))]
    assert sizes == [3] * (len(log.expected(Query(topic=topic))) // 3)


def test_a_page_of_a_topic_goes_on_behind_its_last_event(log: Log) -> None:
    page, *_ = log.pages(Query(topic="a", limit=LIMIT))
    last = page.events[-1]
    assert page.next == Position(last.ts_ingest_us, "a", last.offset)


def test_a_page_of_a_topic_without_an_event_goes_on_behind_the_rows_it_looked_at(log: Log) -> None:
    page, *_ = log.pages(Query(topic="a", source="never", newest_first=False))
    assert page.next is not None
    assert (page.next.topic, page.next.offset) == ("a", SCAN_ROWS)

"""What a read fetches at a time is bounded in bytes, and nothing of the log is left out by it."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.backends import Database
from support.events import event
from support.in_process import InProcessStore
from support.observer import Observer
from support.reading import LogEvent, get_event, read_page

from storage.errors import PayloadOverLimit, StorageError
from storage.model import INT64_MAX, Query
from storage.reading import chunk_hints, page_fetch
from storage.reading.log_reader import LogReader
from storage.reading.statements import Row, Rows

_SIZES = [2, 2, 2, 300, 2, 40, 40, 1200, 1200, 1200, 5, 9, 2, 3000, 2, 2, 70]
_LARGEST = max(_SIZES)


def _payload(size: int) -> str:
    # One character of four bytes, where there is room for it: bytes count, not characters.
    text = "\U0001f600" + "x" * (size - 12) if size >= 12 else ""
    return f'{{"a":"{text}"}}' if text else "{}" + " " * (size - 2)


def _payload_sizes(found: Sequence[Row]) -> list[int]:
    """The sizes of the payloads that a statement returned: one, or a column of them."""
    values = [row[-1] for row in found if isinstance(row[-1], bytes)]
    return [len(payload) for value in values for payload in value.split(b"\x1f") if payload]


class Log:
    """A store with payloads of all sizes in two topics, and the payload bytes of each fetch."""

    def __init__(self, store: LogReader, runner: asyncio.Runner) -> None:
        self._store = store
        self._runner = runner
        self.fetched: list[list[int]] = []
        self.rows_fetched: list[int] = []
        self._reader = store._reader

    @asynccontextmanager
    async def noted(self) -> AsyncGenerator[Rows, None]:
        async with self._reader() as rows:

            async def note(sql: str, arguments: Sequence[object]) -> Sequence[Row]:
                found = await rows(sql, arguments)
                self.fetched.append(_payload_sizes(found))
                if self.fetched[-1]:
                    self.rows_fetched.append(len(found))
                return found

            yield note

    def all(self, query: Query) -> list[LogEvent]:
        """Every event, page by page; a payload over the limit is read with a limit of its own."""

        async def walk() -> list[LogEvent]:
            events: list[LogEvent] = []
            asked = query
            while True:
                try:
                    page = await read_page(self._store, asked)
                except PayloadOverLimit as error:
                    assert error.payload_bytes > asked.max_payload_bytes  # noqa: PT017
                    asked = msgspec.structs.replace(asked, max_payload_bytes=error.payload_bytes)
                    continue
                assert page.events or page.next is None
                events += page.events
                if page.next is None:
                    return events
                asked = msgspec.structs.replace(query, position=page.next)

        return self._runner.run(walk())

    def run(self, call: Any) -> Any:
        return self._runner.run(call)

    @property
    def store(self) -> LogReader:
        return self._store


@pytest.fixture
def log(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    with asyncio.Runner() as runner:
        store: Any = database.in_process_store(readers=1)
        runner.run(store.open())
        for topic in ("a", "b"):
            batch = [event(topic, f"{n}", _payload(size)) for n, size in enumerate(_SIZES)]
            runner.run(store.append(batch))
        reader = store.reader if isinstance(store, InProcessStore) else store
        log = Log(reader, runner)
        monkeypatch.setattr(reader, "_reader", log.noted)
        yield log
        monkeypatch.undo()
        runner.run(store.aclose())


@pytest.mark.timeout(600)
def test_no_fetch_has_more_bytes_than_a_chunk_or_one_payload(log: Log) -> None:
    @settings(max_examples=settings().max_examples)
    @given(
        topic=st.sampled_from([None, "a"]),
        newest_first=st.booleans(),
        limit=st.sampled_from([1, 3, 16, 17, 34, 100]),
        chunk_bytes=st.sampled_from([1, 50, 700, 5000, 10**6]),
        first_rows=st.sampled_from([1, 4, 256]),
        page_bytes=st.sampled_from([1, 400, 3000, 10**6]),
        max_payload_bytes=st.sampled_from([2, 299, 300, 1200, _LARGEST, 10**6]),
    )
    @example(None, False, 100, 10**6, 256, 10**6, 10**6)
    @example("a", False, 100, 50, 256, 10**6, _LARGEST)
    def holds(
        topic: str | None,
        newest_first: bool,
        limit: int,
        chunk_bytes: int,
        first_rows: int,
        page_bytes: int,
        max_payload_bytes: int,
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(page_fetch, "MAX_CHUNK_BYTES", chunk_bytes)
            patch.setattr(chunk_hints, "_FIRST_CHUNK_ROWS", first_rows)
            patch.setattr(page_fetch, "_MAX_SINGLE_FETCHES", 2)
            log.fetched.clear()
            query = Query(
                topic=topic, newest_first=newest_first, limit=limit, max_bytes=page_bytes,
                max_payload_bytes=max_payload_bytes,
            )  # fmt: skip
            events = log.all(query)
        found = [(each.topic, each.offset, len(each.payload)) for each in events]
        expected = [
            (name, offset, size)
            for name in ("a", "b")
            for offset, size in enumerate(_SIZES, start=1)
            if topic in {None, name}
        ]
        assert found == (expected[::-1] if newest_first else expected)
        for sizes in log.fetched:
            assert len(sizes) <= 1 or sum(sizes) <= chunk_bytes

    holds()


def test_a_page_ends_before_a_payload_over_its_limit(log: Log) -> None:
    query = Query(topic="a", newest_first=False, max_payload_bytes=299)
    page = log.run(read_page(log.store, query))
    assert [each.offset for each in page.events] == [1, 2, 3]
    assert page.next is not None
    assert page.next.offset == 3
    with pytest.raises(PayloadOverLimit) as over:
        log.run(read_page(log.store, msgspec.structs.replace(query, position=page.next)))
    assert over.value.payload_bytes == 300
    assert max(map(sum, log.fetched)) < 300


def test_one_event_over_the_limit_is_not_fetched(log: Log) -> None:
    with pytest.raises(PayloadOverLimit) as over:
        log.run(get_event(log.store, "a", "13", max_payload_bytes=2999))
    assert over.value.payload_bytes == 3000
    assert not any(log.fetched)
    found = log.run(get_event(log.store, "a", "13", max_payload_bytes=3000))
    assert len(found.payload) == 3000
    assert log.run(get_event(log.store, "a", "nothing", max_payload_bytes=1)) is None


def test_small_rows_come_many_at_a_time(log: Log) -> None:
    events = log.all(Query(limit=5000))
    assert len(events) == 2 * len(_SIZES)
    # The first few tell how large they are, and the others come at once.
    assert len([sizes for sizes in log.fetched if sizes]) == 2


@pytest.mark.parametrize("topic", [None, "a"])
def test_a_chunk_comes_as_one_row(
    log: Log, monkeypatch: pytest.MonkeyPatch, topic: str | None
) -> None:
    monkeypatch.setattr(chunk_hints, "_FIRST_CHUNK_ROWS", 7)
    log.all(Query(topic=topic, limit=5000, newest_first=False))
    chunks = [sizes for sizes in log.fetched if len(sizes) > 1]
    assert chunks
    assert max(log.rows_fetched) == 1


@pytest.mark.parametrize("after", [0, 3, len(_SIZES), INT64_MAX])
def test_the_head_comes_with_the_first_rows_of_a_page(log: Log, after: int) -> None:
    query = Query(topic="a", newest_first=False, after=after, limit=3)
    page = log.run(log.store.read(query, lambda columns: columns.offsets))
    expected = list(range(after + 1, min(after + 3, len(_SIZES)) + 1))
    assert (list(chain.from_iterable(page.parts)), page.head) == (expected, len(_SIZES))
    assert len(log.fetched) == 1


def test_rows_above_the_head_are_not_given(log: Log, database: Database) -> None:
    async def lower() -> None:
        async with Observer.on(database) as observer:
            await observer.fetch(
                "UPDATE topics SET unique_processed = 2, duplicate_dropped = received - 2 "
                "WHERE topic = 'a'"
            )

    log.run(lower())
    for after, expected in [(0, [1, 2]), (1, [2]), (2, []), (5, [])]:
        query = Query(topic="a", newest_first=False, after=after)
        page = log.run(log.store.read(query, lambda columns: columns.offsets))
        assert (list(chain.from_iterable(page.parts)), page.head) == (expected, 2)


def test_a_page_ends_where_names_fill_it(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_hints, "_FIRST_CHUNK_ROWS", 4)
    monkeypatch.setattr(page_fetch, "MAX_NAMES_BYTES", 1)
    page = log.run(read_page(log.store, Query(topic="a", newest_first=False)))
    assert [each.offset for each in page.events] == [1, 2, 3, 4]
    assert page.next is not None


@pytest.mark.parametrize("topic", [None, "a"])
@pytest.mark.parametrize("newest_first", [True, False])
def test_a_row_that_is_missing_within_a_page_is_an_error(
    log: Log, database: Database, topic: str | None, newest_first: bool
) -> None:
    async def delete() -> None:
        async with Observer.on(database) as observer:
            await observer.fetch("DELETE FROM events WHERE topic = 'a' AND \"offset\" = 9")

    log.run(delete())
    with pytest.raises(StorageError, match=r"missing|lacks an offset"):
        log.all(Query(topic=topic, newest_first=newest_first))


def test_a_separator_within_a_text_is_an_error_and_not_a_wrong_page(
    log: Log, database: Database
) -> None:
    async def spoil() -> None:
        async with Observer.on(database) as observer:
            await observer.fetch(
                "UPDATE events SET source = 'a\x1fb' WHERE topic = 'a' AND \"offset\" = 9"
            )

    log.run(spoil())
    with pytest.raises(StorageError, match=r"U\+001F"):
        log.all(Query(topic="a"))

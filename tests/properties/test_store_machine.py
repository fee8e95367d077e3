"""Any sequence of calls on any number of stores leaves the log that the contract describes."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar, cast

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.backends import Database
from support.clocks import shift_clock
from support.observer import Observer, Snapshot, StoredRow
from support.reading import LogEvent, get_event, read_page
from support.reference import Reference
from support.strategies import EVENT_IDS, SOURCES, TOPICS, Pool, pools

from storage.model import Event, Query
from storage.protocols import EventStore
from storage.reading import log_reader

T = TypeVar("T")

_MOST_STORES = 3


class StoreMachine(RuleBasedStateMachine):
    """Stores on one database, beside a reference that shares no code with them."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.reference = Reference()
        self.stores: list[EventStore] = []
        self.snapshot = Snapshot({}, [])
        self.patch = pytest.MonkeyPatch()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(
        pool=pools(), scan_rows=st.integers(1, 6), page_bytes=st.sampled_from([1, 60, 10**6])
    )
    def begin_empty(self, pool: Pool, scan_rows: int, page_bytes: int) -> None:
        self.pool = pool
        self.patch.setattr(log_reader, "SCAN_ROWS", scan_rows)
        self.page_bytes = page_bytes
        self.run(self._open_another())
        self.observer = self.run(self.stack.enter_async_context(Observer.on(self.database)))
        self.run(self.observer.empty())

    async def _open_another(self) -> None:
        store = self.database.in_process_store(readers=1)
        self.stores.append(store)
        await store.open()

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store.aclose())
        self.run(self.stack.aclose())
        self.runner.close()
        self.patch.undo()

    def any_store(self, pick: int) -> EventStore:
        return self.stores[pick % len(self.stores)]

    @rule(data=st.data(), pick=st.integers(0, 2))
    def publish(self, data: st.DataObject, pick: int) -> None:
        self._publish(data.draw(self.pool.batches()), pick)

    def _publish(self, batch: list[Event], pick: int) -> None:
        verdicts = self.run(self.any_store(pick).append(batch)).verdicts
        told = [(v.topic, v.event_id, v.status.value, v.offset) for v in verdicts]
        assert told == self.reference.publish(batch)

    @precondition(lambda self: self.snapshot.rows)
    @rule(data=st.data(), pick=st.integers(0, 2))
    def publish_stored_events_again(self, data: st.DataObject, pick: int) -> None:
        rows = data.draw(st.lists(st.sampled_from(self.snapshot.rows), min_size=1, max_size=4))
        self._publish([Event(r.topic, r.event_id, 0, r.source, r.payload) for r in rows], pick)

    @rule(seconds=st.sampled_from([-3600, -1, 0, 1, 3600]))
    def step_the_clock(self, seconds: int) -> None:
        shift_clock(self.patch, seconds)

    @precondition(lambda self: len(self.stores) < _MOST_STORES)
    @rule()
    def open_another_store(self) -> None:
        self.run(self._open_another())

    @rule(pick=st.integers(0, 2))
    def reopen(self, pick: int) -> None:
        number = pick % len(self.stores)
        self.run(self.stores[number].aclose())
        self.stores[number] = self.database.in_process_store(readers=1)
        self.run(self.stores[number].open())

    @rule(data=st.data(), pick=st.integers(0, 2))
    def get(self, data: st.DataObject, pick: int) -> None:
        topic = data.draw(st.sampled_from(self.pool.topics + TOPICS[:1]))
        event_id = data.draw(st.sampled_from(self.pool.event_ids + EVENT_IDS[:1]))
        got = self.run(get_event(self.any_store(pick), topic, event_id))
        expected = self.reference.find(topic, event_id)
        if expected is None:
            assert got is None
        else:
            assert got is not None
            assert _as_row(got) in self.snapshot.rows
            assert (got.topic, got.event_id, got.offset) == (topic, event_id, expected[0])

    @rule(pick=st.integers(0, 2))
    def stats(self, pick: int) -> None:
        stats = self.run(self.any_store(pick).stats())
        assert {
            topic: (c.received, c.unique_processed, c.duplicate_dropped, c.conflicts)
            for topic, c in stats.topics.items()
        } == self.reference.counts()
        assert stats.topics_total == len(stats.topics)

    @rule(
        data=st.data(),
        newest_first=st.booleans(),
        limit=st.integers(1, 7),
        pick=st.integers(0, 2),
    )
    def read(
        self,
        data: st.DataObject,
        newest_first: bool,
        limit: int,
        pick: int,
    ) -> None:
        topic = data.draw(st.none() | st.sampled_from(self.pool.topics))
        source = data.draw(st.none() | st.sampled_from(SOURCES))
        # A bound is worth drawing only at the edge of a time that is there.
        times = sorted({row.ts_ingest_us for row in self.snapshot.rows}) or [0]
        bound = st.none() | st.sampled_from(times).flatmap(lambda t: st.sampled_from([t, t + 1]))
        query = Query(
            topic=topic,
            source=source,
            since_us=data.draw(bound),
            until_us=data.draw(bound),
            after=data.draw(st.sampled_from([0, 0, 1, 4])) if topic else 0,
            newest_first=newest_first,
            limit=limit,
        )
        got = self.run(_read_to_the_end(self.any_store(pick), query, self.page_bytes))
        assert [_as_row(event) for event in got] == _selected(self.snapshot.rows, query)

    @invariant()
    def the_database_is_sound_and_as_the_reference_says(self) -> None:
        self.snapshot = self.run(self.observer.snapshot())
        self.snapshot.assert_sound()
        assert self.snapshot.counts == self.reference.counts()
        rows = [
            (r.topic, r.offset, r.event_id, r.timestamp_us, r.source, r.payload)
            for r in self.snapshot.rows
        ]
        assert rows == self.reference.rows()


def _as_row(event: LogEvent) -> StoredRow:
    return StoredRow(
        event.topic, event.offset, event.event_id, event.timestamp_us, event.ts_ingest_us,
        event.source, event.payload.decode(),
    )  # fmt: skip


def _selected(rows: list[StoredRow], query: Query) -> list[StoredRow]:
    return sorted(
        (
            row
            for row in rows
            if query.topic in {None, row.topic}
            and query.source in {None, row.source}
            and (query.since_us is None or query.since_us <= row.ts_ingest_us)
            and (query.until_us is None or row.ts_ingest_us < query.until_us)
            and row.offset > query.after
        ),
        key=lambda row: (row.ts_ingest_us, row.topic.encode(), row.offset),
        reverse=query.newest_first,
    )


async def _read_to_the_end(store: EventStore, query: Query, page_bytes: int) -> list[LogEvent]:
    events: list[LogEvent] = []
    query = msgspec.structs.replace(query, max_bytes=page_bytes)
    for _page in range(1000):
        page = await read_page(store, query)
        assert len(page.events) <= query.limit
        events += page.events
        if page.next is None:
            return events
        query = msgspec.structs.replace(query, position=page.next)
    raise AssertionError("the pages have no end")


@pytest.mark.timeout(1200)
def test_the_log_is_what_the_contract_says_after_any_calls(database: Database) -> None:
    run_state_machine_as_test(
        cast("type[StoreMachine]", lambda: StoreMachine(database)),
        settings=settings(max_examples=settings().max_examples // 2),
    )

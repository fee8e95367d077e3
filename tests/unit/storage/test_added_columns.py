"""A column that a newer program adds, with a default, is nothing to one that goes on running."""

import pytest
from support.backends import Database
from support.events import event
from support.observer import Observer
from support.reading import read_page

from storage.model import Query, Status
from storage.protocols import EventStore


@pytest.mark.parametrize("table", ["events", "topics"])
async def test_a_store_goes_on_beside_one_that_added_a_column(
    database: Database, store: EventStore, table: str
) -> None:
    await store.append([event("t", "before")])
    async with Observer.on(database) as newer:
        await newer.fetch(f"ALTER TABLE {table} ADD COLUMN added TEXT NOT NULL DEFAULT 'as it was'")
    # One topic that is known, one that is not; ids that are new, and one that is not.
    batch = [event("t", "before"), event("t", "after"), event("new", "after")]
    assert [verdict.status for verdict in (await store.append(batch)).verdicts] == [
        Status.DUPLICATE, Status.STORED, Status.STORED,
    ]  # fmt: skip
    await store.ping()
    page = await read_page(store, Query(topic="t", newest_first=False))
    assert [each.event_id for each in page.events] == ["before", "after"]
    assert (await store.stats()).topics["t"].received == 3
    async with Observer.on(database) as newer:
        rows = await newer.fetch(f"SELECT DISTINCT added FROM {table}")
    assert [tuple(row) for row in rows] == [("as it was",)]

"""The optimistic and the locked append on Postgres leave the same log and the same verdicts.

The one stores by a function in the database, the other by a statement of the program: the same SQL
stands in both.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import Database
from support.observer import Observer
from support.strategies import pools

from storage.model import Event, Verdict
from storage.postgres import optimistic_append
from storage.postgres.store import PostgresStore

_ROWS = """
SELECT topic, "offset", event_id, timestamp::text, source, payload::text
FROM {schema}.events ORDER BY topic, "offset" """
# The time of a topic is that of the batch that wrote its row, so not before its last event.
_TOPICS = """
SELECT topic, received, unique_processed, duplicate_dropped, conflicts, last_append IS NOT NULL,
       last_ts_ingest >= coalesce((SELECT max(ts_ingest) FROM {schema}.events AS e
                                   WHERE e.topic = t.topic), '-infinity'),
       last_ts_ingest BETWEEN now() - interval '1 hour' AND now()
FROM {schema}.topics AS t ORDER BY topic"""


class Way:
    """A store whose batches all go one way, in a schema of its own."""

    def __init__(self, name: str, store: PostgresStore, observer: Observer) -> None:
        self._name = name
        self._store = store
        self._observer = observer

    async def empty(self, topics: Sequence[str]) -> None:
        """Begin anew, with an event in each topic, for in a new one there is but one way."""
        for table in ("events", "topics"):
            await self._observer.fetch(f"DELETE FROM {self._name}.{table}")
        await self._store.append([Event(topic, "seed", 0, "shop", "{}") for topic in topics])

    async def append(self, batches: Sequence[Sequence[Event]]) -> list[list[Verdict]]:
        return [(await self._store.append(batch)).verdicts for batch in batches]

    async def log(self) -> list[list[tuple[Any, ...]]]:
        return [
            await self._observer.fetch(sql.format(schema=self._name)) for sql in (_ROWS, _TOPICS)
        ]


async def _open(
    database: Database, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> tuple[Way, Way]:
    observer = await stack.enter_async_context(Observer.on(database))
    ways = []
    for name in ("optimistic", "locked"):
        await observer.fetch(f"CREATE SCHEMA {name}")
        store = PostgresStore(database.dsn, readers=1, schema=name)
        stack.push_async_callback(store.aclose)
        await store.open()
        if name == "locked":
            monkeypatch.setattr(store._appender.backoff, "may_try", lambda: False)
        ways.append(Way(name, store, observer))
    return ways[0], ways[1]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("backend", ["postgres"])
def test_both_ways_to_append_give_the_same_verdicts_rows_and_counts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[bool] = []
    append = optimistic_append.append

    async def counted(*arguments: Any) -> Any:
        outcome = await append(*arguments)
        stored.append(not isinstance(outcome, optimistic_append.NotStored))
        return outcome

    monkeypatch.setattr(optimistic_append, "append", counted)
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        optimistic, locked = runner.run(_open(database, stack, monkeypatch))

        @given(st.data())
        def holds(data: st.DataObject) -> None:
            pool = data.draw(pools())
            batches = data.draw(st.lists(pool.batches(), min_size=1, max_size=4))
            verdicts, logs = [], []
            for way in (optimistic, locked):
                runner.run(way.empty(pool.topics))
                stored.clear()
                verdicts.append(runner.run(way.append(batches)))
                logs.append(runner.run(way.log()))
                assert stored == [True] * len(batches) * (way is optimistic)
            assert verdicts[0] == verdicts[1]
            assert logs[0] == logs[1]
            assert all(all(row[-3:]) for row in logs[0][1])

        try:
            holds()
        finally:
            runner.run(stack.aclose())

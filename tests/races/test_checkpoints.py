"""Of consumers that have the same events one has their effects, because rows are locked."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import asyncpg
import pytest
from support.backends import Database
from support.checkpoint_consumers import KINDS, Consumer
from support.checkpoint_deliveries import batch, batch_of

from subscriber.checkpoints import DoneElsewhere, postgres, sqlite
from subscriber.checkpoints.link import Link
from subscriber.checkpoints.postgres import PostgresLink
from subscriber.checkpoints.segments import NOTHING_DONE, Segment
from subscriber.checkpoints.sqlite import SqliteLink


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of connection in turn."""
    name: str = request.param
    return name


@pytest.fixture
def backend(kind: str) -> str:
    return KINDS[kind].backend


class Pair(NamedTuple):
    """Two consumers of one database, and a third who looks on."""

    a: Consumer
    b: Consumer
    observer: Consumer

    async def until_one_waits(self) -> None:
        """Wait until a consumer waits for a lock; SQLite can't tell, and nobody has to know."""
        if self.a.backend == "postgres":
            await self.observer.see_waiting()


@pytest.fixture
def journal() -> str:
    """The journal of a SQLite file; a test may ask for another one."""
    return "wal"


@pytest.fixture
async def pair(kind: str, journal: str, database: Database) -> AsyncIterator[Pair]:
    """Both connected, and the tables made."""
    options = {"journal": journal} if database.backend == "sqlite" else {}
    async with AsyncExitStack() as stack:
        consumers = []
        for _ in Pair._fields:
            consumers.append(await KINDS[kind].connect(database, **options))
            stack.push_async_callback(consumers[-1].close)
        await consumers[0].prepare()
        yield Pair(*consumers)


ON_POSTGRES = pytest.mark.parametrize("kind", ["asyncpg", "psycopg", "psycopg-blocking"])
ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite3", "sqlite3-async", "aiosqlite"])
ONCE = [("t", 1), ("t", 2), ("t", 3), ("t", 4), ("t", 5000)]


async def b_comes_while_a_is_not_committed(pair: Pair, ending: str = "COMMIT") -> None:
    """A has events of B's in a transaction that is open when B comes; then it ends."""
    await pair.a.consume("billing", batch("t", 1))
    await pair.a.run("BEGIN")
    await pair.a.consume("billing", batch("t", 2, 3, 5000))
    other = pair.b.apart(pair.b.consume("billing", batch_of(("t", 5000), ("t", 3), ("t", 4))))
    await pair.until_one_waits()
    await pair.a.run(ending)
    await other


@ON_SQLITE
@pytest.mark.parametrize("journal", ["wal", "delete"])
async def test_on_sqlite_the_second_waits_and_finds_the_events_of_the_first_done(
    journal: str, pair: Pair
) -> None:
    ((found,),) = await pair.a.run("PRAGMA journal_mode")
    assert found == journal
    await b_comes_while_a_is_not_committed(pair)
    assert await pair.observer.effects("billing") == ONCE


@ON_POSTGRES
async def test_on_postgres_the_second_waits_at_its_end_and_is_undone(pair: Pair) -> None:
    with pytest.raises(DoneElsewhere, match="of 3 events another consumer has done 2"):
        await b_comes_while_a_is_not_committed(pair)
    assert ("t", 4) not in await pair.observer.effects("billing")
    assert not pair.b.is_in_transaction()
    await pair.b.consume("billing", batch_of(("t", 5000), ("t", 3), ("t", 4)))
    assert await pair.observer.effects("billing") == ONCE


async def test_events_of_a_first_that_is_rolled_back_are_the_seconds(pair: Pair) -> None:
    await b_comes_while_a_is_not_committed(pair, "ROLLBACK")
    expected = [("t", 1), ("t", 3), ("t", 4), ("t", 5000)]
    assert await pair.observer.effects("billing") == expected


@ON_POSTGRES
async def test_of_two_in_their_blocks_the_first_to_end_has_the_effects(pair: Pair) -> None:
    deliveries = batch("t", 2, 3)
    block = pair.a.checkpoint("billing", deliveries)
    await pair.a.effect("billing", await block.__aenter__())
    assert await pair.b.consume("billing", batch("t", 3, 4)) == [("t", 3), ("t", 4)]
    with pytest.raises(DoneElsewhere, match="of 2 events another consumer has done 1"):
        await block.__aexit__(None, None, None)
    assert await pair.observer.effects("billing") == [("t", 3), ("t", 4)]
    assert await pair.a.consume("billing", deliveries) == [("t", 2)]


@ON_POSTGRES
async def test_two_in_their_blocks_with_other_events_of_one_row_note_both(pair: Pair) -> None:
    async with pair.a.checkpoint("billing", batch("t", 2)) as fresh:
        await pair.a.effect("billing", fresh)
        # With the row that is not there yet, and then with the one that is.
        assert await pair.b.consume("billing", batch("t", 3)) == [("t", 3)]
        assert await pair.b.consume("billing", batch("t", 4)) == [("t", 4)]
    assert await pair.b.consume("billing", batch("t", 2, 3, 4, 5)) == [("t", 5)]
    assert await pair.observer.effects("billing") == [("t", 2), ("t", 3), ("t", 4), ("t", 5)]


@ON_POSTGRES
async def test_without_the_lock_of_rows_the_same_events_have_two_effects(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They meet where they write.
    monkeypatch.setattr(postgres, "LOCK", postgres.LOCK.replace("FOR UPDATE OF held", ""))
    await pair.a.consume("billing", batch("t", 5000))
    await pair.a.run("BEGIN")
    await pair.a.consume("billing", batch("t", 5001, 5002))
    other = pair.b.apart(pair.b.consume("billing", batch("t", 5002, 5003)))
    await pair.until_one_waits()
    await pair.a.run("COMMIT")
    await other
    effects = [offset for _, offset in await pair.observer.effects("billing")]
    assert effects == [5000, 5001, 5002, 5002, 5003]
    # Nor is what A has noted there any more.
    assert await pair.b.consume("billing", batch("t", 5001, 5002)) == [("t", 5001)]


@ON_POSTGRES
async def test_without_the_look_behind_the_lock_the_same_events_have_two_effects(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock: Callable[..., Awaitable[list[bytes]]] = PostgresLink.lock

    async def as_before_the_block(self: Link, *of: Any) -> list[bytes]:
        return [NOTHING_DONE for _ in await lock(self, *of)]

    monkeypatch.setattr(PostgresLink, "lock", as_before_the_block)
    await b_comes_while_a_is_not_committed(pair)
    assert await pair.observer.effects("billing") == sorted([*ONCE, ("t", 3), ("t", 5000)])


@ON_SQLITE
async def test_with_the_look_before_the_write_lock_the_same_events_have_two_effects(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    look: Callable[..., Awaitable[list[bytes]]] = SqliteLink.look

    async def as_before_a(self: Link, *of: Any) -> list[bytes]:
        return [NOTHING_DONE for _ in await look(self, *of)]

    monkeypatch.setattr(SqliteLink, "look", as_before_a)
    await b_comes_while_a_is_not_committed(pair)
    assert await pair.observer.effects("billing") == sorted([*ONCE, ("t", 3), ("t", 5000)])


@ON_SQLITE
async def test_without_the_write_lock_the_first_can_write_no_more(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "TAKE_WRITE_LOCK", "SELECT 1 FROM subscriber_checkpoints")
    block = pair.a.checkpoint("billing", batch("t", 2, 3))
    fresh = await block.__aenter__()
    assert await pair.b.consume("billing", batch("t", 3)) == [("t", 3)]
    # SQLite does not let it write on what is not the newest any more, however long it waits.
    with pytest.raises(sqlite3.OperationalError, match="database is locked") as raised:
        await pair.a.effect("billing", fresh)
    await block.__aexit__(type(raised.value), raised.value, None)


@ON_SQLITE
async def test_joined_transaction_that_has_looked_before_is_refused_at_once(pair: Pair) -> None:
    await pair.a.run("BEGIN")
    await pair.a.effects("billing")
    await pair.b.consume("billing", batch("t", 1))
    with pytest.raises(sqlite3.OperationalError, match="database is locked") as raised:
        await pair.a.consume("billing", batch("t", 1))
    assert raised.value.sqlite_errorname == "SQLITE_BUSY_SNAPSHOT"
    await pair.a.run("ROLLBACK")
    assert await pair.a.consume("billing", batch("t", 1, 2)) == [("t", 2)]


@ON_POSTGRES
async def test_events_of_two_subscriptions_wait_for_nobody_on_postgres(pair: Pair) -> None:
    await pair.a.run("BEGIN")
    await pair.a.consume("billing", batch("t", 1))
    assert await pair.b.consume("mail", batch("t", 1)) == [("t", 1)]
    await pair.a.run("COMMIT")


async def lock_in_two_orders(pair: Pair) -> None:
    """B comes to rows that A waits for, and both have to wait for a third."""
    await pair.a.consume("billing", batch_of(("a", 1), ("b", 1)))
    await pair.observer.run("BEGIN")
    await pair.observer.run("UPDATE subscriber_checkpoints SET done = done WHERE topic = 'a'")
    tasks: list[asyncio.Task[Any]] = []
    for offset, consumer in enumerate((pair.a, pair.b), 2):
        await consumer.run("SET deadlock_timeout = '20ms'")
        events = batch_of(("a", offset), ("b", offset))
        tasks.append(consumer.apart(consumer.consume("billing", events)))
        await pair.observer.see_waiting(len(tasks))
    await pair.observer.run("COMMIT")
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


@pytest.mark.parametrize("kind", ["asyncpg"])
async def test_with_sorted_rows_nobody_waits_in_a_circle(pair: Pair) -> None:
    await lock_in_two_orders(pair)
    assert await pair.observer.effects("billing") == [(t, n) for t in "ab" for n in (1, 2, 3)]


@pytest.mark.parametrize("kind", ["asyncpg"])
async def test_with_rows_in_any_order_two_wait_in_a_circle(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock: Callable[..., Awaitable[list[bytes]]] = PostgresLink.lock

    async def reversed_by_b(self: Any, name: str, segments: Sequence[Segment]) -> list[bytes]:
        if self._connection is pair.a.connection:
            return await lock(self, name, segments)
        return list(reversed(await lock(self, name, list(reversed(segments)))))

    monkeypatch.setattr(PostgresLink, "lock", reversed_by_b)
    with pytest.raises(asyncpg.DeadlockDetectedError):
        await lock_in_two_orders(pair)


async def insert_beside_a_lock(pair: Pair) -> None:
    """B has inserted a row that A needs, and comes for the row that A has already."""
    connection = pair.b.connection
    await pair.a.consume("billing", batch("t", 1))
    await pair.b.run("SET deadlock_timeout = '20ms'")
    await pair.b.run("BEGIN")
    arguments = ["billing", ["t", "t"], [0, 1]]
    await connection.fetch(postgres.INSERT, *arguments, NOTHING_DONE)
    waiting = pair.a.apart(pair.a.consume("billing", batch("t", 2, 5000)))
    await pair.until_one_waits()
    try:
        assert len(await connection.fetch(postgres.LOCK, *arguments)) == 2
    finally:
        await pair.b.run("COMMIT")
        await waiting


@pytest.mark.parametrize("kind", ["asyncpg"])
async def test_who_waits_for_an_inserted_row_holds_no_other(pair: Pair) -> None:
    await insert_beside_a_lock(pair)
    assert await pair.observer.effects("billing") == [("t", 1), ("t", 2), ("t", 5000)]


@pytest.mark.parametrize("kind", ["asyncpg"])
async def test_who_holds_rows_and_waits_for_an_inserted_one_may_wait_in_a_circle(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_or_none = postgres.LOCK.replace("cardinality($2::text[]) =", "0 <=")
    assert any_or_none != postgres.LOCK
    monkeypatch.setattr(postgres, "LOCK", any_or_none)
    with pytest.raises(asyncpg.DeadlockDetectedError):
        await insert_beside_a_lock(pair)

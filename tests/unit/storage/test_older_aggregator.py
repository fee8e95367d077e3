"""During a rolling upgrade an aggregator of the version before writes beside a newer one."""

import asyncio

import asyncpg
import pytest
from support.backends import Database
from support.events import event
from support.former_append import append_as_before
from support.former_schema import ranges
from support.observer import Observer
from support.scene import told
from support.verifying import differences

from storage.postgres.store import PostgresStore


@pytest.mark.parametrize("backend", ["postgres"])
@pytest.mark.parametrize("locked", [False, True])
async def test_both_write_by_turns_and_every_append_is_recorded(
    database: Database, monkeypatch: pytest.MonkeyPatch, locked: bool
) -> None:
    older, newer = PostgresStore(database.dsn), PostgresStore(database.dsn)
    await older.open()
    await newer.open()
    if locked:
        for store in (older, newer):
            monkeypatch.setattr(store._appender.backoff, "may_try", lambda: False)
    await older.append([event("t", "0")])
    for number in range(1, 5):
        with monkeypatch.context() as patched:
            if number % 2:
                append_as_before(patched)
            store = older if number % 2 else newer
            batch = [event("t", f"{number}"), event("t", f"{number - 1}")]
            assert told(await store.append(batch)) == [
                ("stored", number + 1),
                ("duplicate", number),
            ]
    assert older._appender.backoff.remaining == newer._appender.backoff.remaining == 0
    await older.aclose()
    await newer.aclose()
    async with Observer.on(database) as observer:
        (await observer.snapshot()).assert_sound()
    assert [each[1:] for each in await ranges(database)] == [("t", n, n) for n in range(1, 6)]
    assert await asyncio.to_thread(differences, database) == []


@pytest.mark.parametrize("backend", ["postgres"])
async def test_an_older_one_needs_no_right_on_the_table_of_appends(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(database.dsn)
    await store.open()
    append_as_before(monkeypatch)
    role = "of_an_older_one"
    async with Observer.on(database) as owner:
        await owner.connection.execute(
            f"CREATE ROLE {role}; GRANT SELECT, INSERT, UPDATE ON topics, events TO {role}"
        )
        try:
            await store.append([event("t", "0")])
            async with store._writer() as connection:
                await connection.execute(f"SET ROLE {role}")
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="table appends"):
                    await connection.fetch("SELECT FROM appends")
                await connection.execute(
                    "UPDATE topics SET received = received + 1, "
                    "unique_processed = unique_processed + 1, "
                    "last_ts_ingest = last_ts_ingest + interval '1 second'"
                )
                await connection.execute("RESET ROLE")
        finally:
            await owner.connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await store.aclose()
    assert [each[1:] for each in await ranges(database)] == [("t", 1, 1), ("t", 2, 2)]


@pytest.mark.parametrize("backend", ["postgres"])
async def test_what_an_older_one_stores_is_recorded_in_a_schema_that_was_renamed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(database.dsn)
    await store.open()
    await store.aclose()
    async with Observer.on(database) as owner:
        await owner.fetch('ALTER SCHEMA public RENAME TO "An other"')
        append_as_before(monkeypatch)
        store = PostgresStore(database.dsn, schema="An other")
        await store.open()
        await store.append([event("t", "0")])
        await store.aclose()
        recorded = await owner.fetch('SELECT topic, last_offset FROM "An other".appends')
        await owner.fetch('ALTER SCHEMA "An other" RENAME TO public')
    assert recorded == [("t", 1)]

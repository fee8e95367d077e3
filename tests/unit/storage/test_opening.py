"""Opening brings an empty database up to date, and refuses what is not this program's."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from support.backends import Database, PostgresServer, new_database
from support.events import event
from support.observer import Observer

from storage.errors import StorageMisconfigured, StorageUnavailable
from storage.migrations import migrations, pending
from storage.protocols import EventStore

_STORES = 8


async def version(database: Database) -> list[tuple[int, ...]]:
    async with Observer.on(database) as observer:
        if database.backend == "sqlite":
            return await observer.fetch("PRAGMA user_version")
        return await observer.fetch("SELECT version FROM aggregator_schema ORDER BY version")


async def test_a_fresh_database_gets_every_migration(database: Database, store: EventStore) -> None:
    assert (await store.stats()).topics == {}
    newest = migrations(database.backend)[-1].version
    expected = [newest] if database.backend == "sqlite" else list(range(1, newest + 1))
    assert await version(database) == [(number,) for number in expected]


async def test_opening_again_changes_nothing(database: Database, store: EventStore) -> None:
    await store.append([event("t", "x")])
    before = await version(database)
    await store.open()
    again = database.store()
    await again.open()
    await again.aclose()
    assert await version(database) == before
    assert (await store.stats()).topics["t"].unique_processed == 1


async def open_in_spite_of_others(store: EventStore) -> None:
    # "Try again" is an answer a store may give, but not for ever.
    for _ in range(20):
        try:
            await store.open()
        except StorageUnavailable:
            continue
        return
    raise AssertionError("it never opened")


async def test_stores_that_open_a_new_database_at_once_all_come_to_use_it(
    database: Database,
) -> None:
    stores = [database.store(readers=1) for _ in range(_STORES)]
    try:
        await asyncio.gather(*map(open_in_spite_of_others, stores))
        for number, store in enumerate(stores):
            await store.append([event("t", f"e-{number}")])
        assert (await stores[0].stats()).topics["t"].unique_processed == _STORES
    finally:
        for store in stores:
            await store.aclose()


_OPEN_AND_APPEND = """
import asyncio, sys
from pathlib import Path
from storage.errors import StorageUnavailable
from storage.model import Event
from storage.postgres.store import PostgresStore
from storage.sqlite.store import SqliteStore

async def main(backend, where, name):
    store = (
        SqliteStore(Path(where), busy_timeout_ms=10_000)
        if backend == "sqlite"
        else PostgresStore(where)
    )
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(20):
        try:
            await store.open()
            break
        except StorageUnavailable:
            pass
    await store.append([Event("t", name, 0, "s", "{}")])
    await store.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


def start(database: Database, name: str) -> subprocess.Popen[str]:
    where = str(database.path) if database.backend == "sqlite" else database.dsn
    return subprocess.Popen(
        [sys.executable, "-c", _OPEN_AND_APPEND, database.backend, where, name],
        # In development mode asyncio writes how long it took, which says nothing here.
        env={**os.environ, "PYTHONDEVMODE": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.usefixtures("processes")
async def test_processes_that_open_a_new_database_at_once_all_come_to_use_it(
    database: Database,
) -> None:
    started = [start(database, f"e-{number}") for number in range(4)]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[1] for process in started] == [""] * len(started)
    async with Observer.on(database) as observer:
        snapshot = await observer.snapshot()
    snapshot.assert_sound()
    assert snapshot.counts == {"t": (len(started), len(started), 0, 0)}


_OPENS_AS_TOLD = """
import sys
from pathlib import Path
from storage.sqlite.file_guard import FileGuard
from storage.sqlite.connection import open_writer
for line in sys.stdin:
    path = Path(line.strip())
    try:
        open_writer(path, FileGuard(path), 10.0)
    except Exception as error:
        print(repr(error), flush=True)
    else:
        print("opened", flush=True)
"""


@pytest.mark.usefixtures("processes")
def test_processes_that_open_a_new_sqlite_file_at_once_succeed_at_the_first_try(
    tmp_path: Path,
) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _OPENS_AS_TOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(4)
    ]
    told = []
    for number in range(40):
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"{tmp_path / str(number)}.db\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            told.append(process.stdout.readline().strip())
    for process in processes:
        process.communicate(timeout=30)
    assert set(told) == {"opened"}


async def test_a_newer_schema_is_refused_with_a_sentence_that_says_what_to_do(
    database: Database, store: EventStore
) -> None:
    await store.aclose()
    async with Observer.on(database) as observer:
        if database.backend == "sqlite":
            await observer.fetch("PRAGMA user_version = 99")
        else:
            await observer.fetch("INSERT INTO aggregator_schema (version) VALUES (99)")
    with pytest.raises(StorageMisconfigured, match=r"schema version 99.*use the newer aggregator"):
        await store.open()
    with pytest.raises(StorageUnavailable):
        await store.append([event("t", "x")])
    assert (await version(database))[-1] == (99,)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_migrations_are_numbered_from_one_without_a_gap(kind: str) -> None:
    steps = migrations(kind)
    assert [step.version for step in steps] == list(range(1, len(steps) + 1))
    assert pending(kind, 0) == steps
    assert pending(kind, len(steps)) == []


async def test_tables_of_another_program_in_postgres_are_refused_and_left_alone(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with new_database("postgres", tmp_path, postgres_server) as database:
        connection = await asyncpg.connect(database.dsn)
        await connection.execute("CREATE TABLE events (mine text)")
        with pytest.raises(StorageMisconfigured, match="has a table 'events' that is not of"):
            await database.store().open()
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        assert [tuple(row) for row in tables] == [("events",)]
        await connection.close()


async def test_a_postgres_database_that_is_not_utf8_is_refused(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    name = f"ascii_{os.getpid()}"
    postgres_server.execute(
        f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"
    )
    try:
        store = Database("postgres", tmp_path, postgres_server.database_dsn(name)).store()
        with pytest.raises(StorageMisconfigured, match="encoding SQL_ASCII"):
            await store.open()
    finally:
        postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_postgres_database_that_does_not_exist_is_refused(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    store = Database("postgres", tmp_path, postgres_server.database_dsn("nobody_made_it")).store()
    with pytest.raises(StorageMisconfigured, match='"nobody_made_it" does not exist'):
        await store.open()


async def test_a_server_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    store = Database("postgres", tmp_path, "postgresql://nobody@127.0.0.1:1/none").store()
    with pytest.raises(StorageUnavailable, match="out of reach"):
        await store.open()

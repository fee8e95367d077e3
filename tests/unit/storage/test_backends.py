"""Settings are in milliseconds, stores in seconds: what was set is what the database is told."""

from pathlib import Path

from support.backends import PostgresServer, new_database

from storage.backends import postgres_store, sqlite_store
from storage.postgres.store import PostgresStore
from storage.sqlite.store import SqliteStore


async def test_a_sqlite_store_waits_for_a_lock_as_long_as_is_set(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = sqlite_store(path, busy_timeout_ms=2500, command_timeout_ms=1500)
    assert isinstance(store, SqliteStore)
    await store.open()
    process = store._process
    assert process is not None
    assert process._arguments == [str(path), "2500"]
    assert (store._limit_s, process._limit_s) == (4.0, 4.0)
    for connection in store._reader._connections:
        assert list(await connection.execute_fetchall("PRAGMA busy_timeout")) == [(2500,)]
    await store.aclose()
    assert path.read_bytes().startswith(b"SQLite format 3")


async def test_a_postgres_store_waits_for_an_answer_as_long_as_is_set(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with new_database("postgres", tmp_path, postgres_server) as database:
        store = postgres_store(database.dsn, readers=3, command_timeout_ms=20_000)
        assert isinstance(store, PostgresStore)
        await store.open()
        assert store._readers is not None
        assert store._writers is not None
        assert (store._writers.get_max_size(), store._readers.get_max_size()) == (2, 3)
        assert await store._readers.fetchval("SHOW statement_timeout") == "30s"
        assert await store._readers.fetchval("SHOW idle_in_transaction_session_timeout") == "10s"
        await store.aclose()

"""The table of backends, and what it makes of settings.

Settings are in milliseconds, stores in seconds: what was set is what the database is told.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.backends import PostgresServer, new_database

from aggregator.app import configured_store
from aggregator.commands.verify.command import verify
from aggregator.settings.model import Settings
from aggregator.settings.storage import VerifySettings
from storage import backends
from storage.backends import BACKENDS, postgres_store, sqlite_store
from storage.postgres.store import PostgresStore
from storage.sqlite.store import SqliteStore


@pytest.mark.usefixtures("processes")
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
        assert tuple(pool.usage().max_connections for pool in (store._writers, store._readers)) == (
            2,
            3,
        )
        pool = store._readers.driver_pool
        assert await pool.fetchval("SHOW statement_timeout") == "30s"
        assert await pool.fetchval("SHOW idle_in_transaction_session_timeout") == "10s"
        await store.aclose()


@pytest.mark.usefixtures("processes")
async def test_an_entry_is_all_that_a_backend_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = replace(BACKENDS["sqlite"], name="other", label="Other", audit_passes=1)
    monkeypatch.setattr(backends, "BACKENDS", table := {**BACKENDS, "other": entry})
    monkeypatch.setattr("aggregator.settings.storage.BACKENDS", table)
    values = {"backend": "other", "database": tmp_path / "log.db"}
    settings = Settings.from_values(values)
    assert settings.chosen_backend is entry
    store = configured_store(settings)
    await store.open()
    await store.aclose()
    assert verify(VerifySettings.from_values(values)) == 0
    assert "0 rows in 0 topics" in capsys.readouterr().out


def test_a_place_is_a_file_or_a_name_without_a_password() -> None:
    dsn = "postgresql://user:hush4711@db/log"
    for given, place in (({"database": "my.db"}, "my.db"), ({"dsn": dsn}, "Postgres")):
        settings = Settings.from_values(given)
        assert settings.chosen_backend.place(settings) == place


@pytest.mark.usefixtures("processes")
def test_the_table_imports_no_driver() -> None:
    script = "import sys, storage.backends\nprint(*{'asyncpg', 'aiosqlite'} & set(sys.modules))"
    printed = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert printed.split() == []

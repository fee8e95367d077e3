"""Consumers of every kind, each on a database with empty tables."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.backends import Database, PostgresServer
from support.checkpoint_consumers import KINDS, Consumer

Connect = Callable[..., Awaitable[Consumer]]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of connection in turn; a module may ask for some."""
    name: str = request.param
    return name


@pytest.fixture
def backend(kind: str) -> str:
    return KINDS[kind].backend


@pytest.fixture(scope="session")
def kept_postgres(postgres_server: PostgresServer) -> Iterator[Database]:
    """A Postgres database that tests use one after the other: to make one takes longer than a test.

    They leave nothing in it but the rows of two tables.
    """
    with postgres_server.database() as name:
        yield Database("postgres", Path(), postgres_server.database_dsn(name))


@pytest.fixture
def kept_database(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest, processes: None
) -> Database:
    """That one, or a SQLite file of the test's own."""
    if backend == "postgres":
        kept: Database = request.getfixturevalue("kept_postgres")
        return kept
    return Database("sqlite", tmp_path / "effects.db", "")


@pytest.fixture
async def connect(kind: str, kept_database: Database) -> AsyncIterator[Connect]:
    """Makes consumers of the kind; options are those of the driver."""
    consumers: list[Consumer] = []

    async def make(**options: Any) -> Consumer:
        consumers.append(await KINDS[kind].connect(kept_database, **options))
        return consumers[-1]

    yield make
    for consumer in consumers:
        await consumer.close()


@pytest.fixture
async def consumer(connect: Connect) -> Consumer:
    """A consumer on a database with the tables, which are empty."""
    consumer = await connect()
    await consumer.prepare()
    return consumer

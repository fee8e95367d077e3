"""A Postgres whose operator asks for commits that do not wait for the disk, and that crashes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.load import (
    Told,
    batch_of,
    check_kept,
    publish,
    publish_until_taken,
    session,
    until_ready,
)
from support.own_postgres import OwnPostgres
from support.processes import Aggregator

_PUBLISHES = 100


@contextmanager
def careless_role(server: OwnPostgres, database: str) -> Iterator[str]:
    """An owner of the database whose sessions begin with `synchronous_commit = off`.

    What is not flushed at a commit is not flushed at all for a long time.
    """
    role = f"careless_{database}"
    server.set("wal_writer_delay = '10s'")
    server.execute(f"CREATE ROLE {role} LOGIN")
    server.execute(f"ALTER ROLE {role} SET synchronous_commit = off")
    server.execute(f"ALTER DATABASE {database} OWNER TO {role}")
    yield role
    server.execute(f"ALTER DATABASE {database} OWNER TO postgres")
    server.execute(f"DROP OWNED BY {role}", server.dsn_for("postgres", database=database))
    server.execute(f"DROP ROLE {role}")


async def check_survives_crashes(
    run_aggregator: Callable[..., Aggregator], server: OwnPostgres, dsn: str, own_dsn: str
) -> None:
    """Crash the server when the aggregator is ready, and again when it has acknowledged events.

    Args:
        run_aggregator: starts an aggregator with command-line arguments.
        server: the database server that crashes.
        dsn: by which the aggregator reaches its database.
        own_dsn: the same database at the server itself.
    """
    aggregator = await asyncio.to_thread(run_aggregator, "--dsn", dsn)
    async with session() as client:
        await until_ready(client, aggregator.url)
        await _crash(server)
        assert await asyncio.to_thread(server.takes, "SELECT 1")
        await asyncio.to_thread(server.execute, "SELECT FROM topics, events LIMIT 0", own_dsn)

        # It goes on by itself.
        told = Told()
        await publish_until_taken(client, aggregator.url, batch_of("orders", ["first"]), told)
        for number in range(_PUBLISHES):
            status = await publish(client, aggregator.url, batch_of("orders", [f"{number}"]), told)
            assert status == 200
        await _crash(server)
        await until_ready(client, aggregator.url)
        await check_kept(client, aggregator.url, told, ["orders"])


async def _crash(server: OwnPostgres) -> None:
    await asyncio.to_thread(server.close)
    await asyncio.to_thread(server.start)

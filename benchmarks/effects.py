"""One effect an event: a row in a table of the consumer, in its own database on Postgres.

The table has no key that would hide an event that was done twice: what is in it is counted.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from benchmarks.measuring import WrongCounts

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]

_TABLE = "CREATE TABLE effects (number bigint NOT NULL, text text NOT NULL)"
_INSERT = "INSERT INTO effects (number, text) VALUES ($1, $2)"
_COUNTED = "SELECT count(*), count(DISTINCT number) FROM effects"


async def make_table(dsn: str) -> None:
    """Make the empty table in a database."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_TABLE)
    finally:
        await connection.close()


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator["Connection | None"]:
    """Connect a consumer to its database; None without a DSN, where events have no effects."""
    if not dsn:
        yield None
        return
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def write(connection: "Connection | None", payloads: Iterable[Mapping[str, Any]]) -> None:
    """Insert a row for each payload: all or none, in the transaction that is open if there is one.

    Args:
        connection: to the database; None if there are to be no effects.
        payloads: of the events.
    """
    if connection is not None:
        rows = [(payload["number"], payload["text"]) for payload in payloads]
        await connection.executemany(_INSERT, rows)


async def check(dsn: str, events: int) -> None:
    """Check that each event had one effect; raises `WrongCounts`."""
    connection = await asyncpg.connect(dsn)
    try:
        (counted,) = await connection.fetch(_COUNTED)
    finally:
        await connection.close()
    if tuple(counted) != (events, events):
        raise WrongCounts("{} effects of {} different events, not of {}".format(*counted, events))

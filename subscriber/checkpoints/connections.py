"""The calls of checkpoints, by the connection that they are given."""

import sys
from collections.abc import Coroutine, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

from subscriber.checkpoints.blocks import Block, BlockingCheckpoint, Checkpoint, EitherCheckpoint
from subscriber.checkpoints.link import Link, without_waiting
from subscriber.checkpoints.segments import HandedOut

if TYPE_CHECKING:
    import sqlite3

    import aiosqlite
    import asyncpg
    import psycopg
    from asyncpg.pool import PoolConnectionProxy

_DRIVERS = ("asyncpg", "psycopg", "sqlite3", "aiosqlite")


# The types of asyncpg, and of psycopg where it is missing, fit everything. So asyncpg's are last,
# and psycopg's that are awaited, as asyncpg's are, come ahead of those that block.
@overload
def checkpoint(
    connection: "sqlite3.Connection", subscription: str, batch: HandedOut | Sequence[HandedOut]
) -> EitherCheckpoint: ...


@overload
def checkpoint(
    connection: "aiosqlite.Connection", subscription: str, batch: HandedOut | Sequence[HandedOut]
) -> Checkpoint: ...


@overload
def checkpoint(
    connection: "psycopg.AsyncConnection[Any]",
    subscription: str,
    batch: HandedOut | Sequence[HandedOut],
) -> Checkpoint: ...


@overload
def checkpoint(
    connection: "psycopg.Connection[Any]", subscription: str, batch: HandedOut | Sequence[HandedOut]
) -> BlockingCheckpoint: ...


@overload
def checkpoint(
    connection: "asyncpg.Connection[Any] | PoolConnectionProxy[Any]",
    subscription: str,
    batch: HandedOut | Sequence[HandedOut],
) -> Checkpoint: ...


def checkpoint(
    connection: object, subscription: str, batch: HandedOut | Sequence[HandedOut]
) -> Checkpoint | BlockingCheckpoint:
    """Have the effects of events happen once in the consumer's own database.

    It is entered with `async with`, or with `with` where the calls of the connection block
    (sqlite3: either), and gives the events that were not done before under the subscription's name,
    in a list, each once. What the block writes over the same connection and the note that they are
    done are one transaction: that of the connection, if one is open, whose caller then commits, or
    else one of its own. An exception that leaves the block undoes both.

    Args:
        connection: of asyncpg (also from its pool), psycopg 3, sqlite3 or aiosqlite. One block at a
            time uses it.
        subscription: the name under which the events are noted.
        batch: a delivery, or a batch of them. They can't be acknowledged in the block, nor while
            a transaction that it joined is open (TransactionOpen).

    Returns:
        What `async with` or `with` enters, once. To enter it raises CheckpointTableMissing,
        ConnectionInCheckpoint and the driver's errors; to leave it, DoneElsewhere (on Postgres),
        TransactionEnded and the driver's errors. After any of them nothing is noted, unless it is a
        commit whose answer was lost: whether that is done, the next delivery of the events finds
        out.

    Raises:
        TypeError: it is no such connection.
    """
    link = _link_to(connection)
    name: object = subscription
    if not isinstance(name, str):
        kind = type(name).__qualname__
        raise TypeError(f"a checkpoint's second argument is a subscription's name, not a {kind}")
    deliveries = tuple(batch) if isinstance(batch, Sequence) else (batch,)
    block = Block(connection, link, subscription, deliveries)
    if link.blocks:
        return EitherCheckpoint(block) if link.is_awaited else BlockingCheckpoint(block)
    return Checkpoint(block)


@overload
def create_checkpoint_table(connection: "sqlite3.Connection") -> None: ...


@overload
def create_checkpoint_table(connection: "aiosqlite.Connection") -> Coroutine[Any, Any, None]: ...


@overload
def create_checkpoint_table(
    connection: "psycopg.AsyncConnection[Any]",
) -> Coroutine[Any, Any, None]: ...


@overload
def create_checkpoint_table(connection: "psycopg.Connection[Any]") -> None: ...


@overload
def create_checkpoint_table(
    connection: "asyncpg.Connection[Any] | PoolConnectionProxy[Any]",
) -> Coroutine[Any, Any, None]: ...


def create_checkpoint_table(connection: object) -> Coroutine[Any, Any, None] | None:
    """Create the table of checkpoints unless it is there.

    Any number of processes may do it at once. Where a transaction is open, it is part of that.

    Args:
        connection: as for `checkpoint`.

    Returns:
        None where the calls of the connection block (psycopg.Connection, sqlite3), else what has
        to be awaited.

    Raises:
        TypeError: it is no such connection.
    """
    link = _link_to(connection)
    creating = link.create_table()
    return without_waiting(creating) if link.blocks else creating


def _link_to(connection: object) -> Link:
    for driver in _DRIVERS:
        # Whose driver was never imported has no connection of it.
        if sys.modules.get(driver) is not None:
            module = import_module(f"subscriber.checkpoints.{driver}_link")
            link: Link | None = module.link_to(connection)
            if link is not None:
                return link
    kind = type(connection)
    raise TypeError(
        "a checkpoint takes a connection of asyncpg, psycopg 3, sqlite3 or aiosqlite,"
        f" not a {kind.__module__}.{kind.__qualname__}"
    )

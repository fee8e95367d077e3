"""Which connections a checkpoint takes, and that it brings no driver along."""

import sqlite3
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import aiosqlite
import pytest
from support.checkpoint_deliveries import batch

from subscriber.blocking_delivery import BlockingBatch
from subscriber.checkpoints import (
    BlockingCheckpoint,
    Checkpoint,
    EitherCheckpoint,
    checkpoint,
    create_checkpoint_table,
)

if TYPE_CHECKING:
    import asyncpg
    import psycopg
    from asyncpg.pool import PoolConnectionProxy

DRIVERS = ["asyncpg", "psycopg", "sqlite3", "aiosqlite"]


class OpenForEver(sqlite3.Connection):
    """A connection as Python 3.12 makes it with autocommit=False."""

    autocommit = False


@pytest.mark.parametrize(
    ("connection", "kind"),
    [("postgres://", "builtins.str"), (None, "builtins.NoneType"), (Path(), "PosixPath")],
)
def test_anything_else_is_refused(connection: Any, kind: str) -> None:
    sentence = f"takes a connection of asyncpg, psycopg 3, sqlite3 or aiosqlite, not a .*{kind}$"
    with pytest.raises(TypeError, match=sentence):
        checkpoint(connection, "billing", batch("t", 1))
    with pytest.raises(TypeError, match=sentence):
        create_checkpoint_table(connection)


@pytest.mark.usefixtures("processes")
def test_drivers_are_imported_by_programs_alone() -> None:
    program = f"""
import sys
from subscriber.checkpoints import checkpoint, create_checkpoint_table
print(sorted(set(sys.modules) & set({DRIVERS})))
import sqlite3
connection = sqlite3.connect(":memory:")
create_checkpoint_table(connection)
with checkpoint(connection, "billing", []) as fresh:
    print(fresh)
print(sorted(set(sys.modules) & set({DRIVERS})))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["[]", "[]", "['sqlite3']"]


async def test_sqlite_connection_that_is_always_in_a_transaction_is_refused(
    tmp_path: Path,
) -> None:
    connection = sqlite3.connect(tmp_path / "effects.db", factory=OpenForEver)
    connection.execute("BEGIN")
    with (
        pytest.raises(ValueError, match="connect with autocommit=True"),
        checkpoint(connection, "billing", batch("t", 1)),
    ):
        pass
    connection.close()
    async with aiosqlite.connect(tmp_path / "effects.db", factory=OpenForEver) as other:
        await other.execute("BEGIN")
        with pytest.raises(ValueError, match="autocommit=False"):
            await checkpoint(other, "billing", batch("t", 1)).__aenter__()


async def test_form_that_would_block_is_no_form_of_an_awaited_connection(tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / "effects.db") as connection:
        wrong: Any = checkpoint(connection, "billing", batch("t", 1))
        with pytest.raises(TypeError, match="context manager"), wrong:
            pass


def forms(
    of_asyncpg: "asyncpg.Connection[Any]",
    of_its_pool: "PoolConnectionProxy[Any]",
    of_psycopg: "psycopg.AsyncConnection[tuple[Any, ...]]",
    of_blocking_psycopg: "psycopg.Connection[dict[str, Any]]",
    of_sqlite3: sqlite3.Connection,
    of_aiosqlite: aiosqlite.Connection,
    of_threads: BlockingBatch,
) -> None:
    """What mypy makes of each connection."""
    events = batch("t", 1)
    assert_type(checkpoint(of_asyncpg, "billing", events), Checkpoint)
    assert_type(checkpoint(of_its_pool, "billing", events[0]), Checkpoint)
    assert_type(checkpoint(of_psycopg, "billing", list(events)), Checkpoint)
    assert_type(checkpoint(of_blocking_psycopg, "billing", events), BlockingCheckpoint)
    assert_type(checkpoint(of_sqlite3, "billing", events), EitherCheckpoint)
    assert_type(checkpoint(of_aiosqlite, "billing", events), Checkpoint)
    assert_type(checkpoint(of_blocking_psycopg, "billing", of_threads), BlockingCheckpoint)
    assert_type(checkpoint(of_sqlite3, "billing", of_threads[0]), EitherCheckpoint)
    made: list[Coroutine[Any, Any, None]] = [
        create_checkpoint_table(of_asyncpg),
        create_checkpoint_table(of_its_pool),
        create_checkpoint_table(of_psycopg),
        create_checkpoint_table(of_aiosqlite),
    ]
    del made
    create_checkpoint_table(of_blocking_psycopg)
    create_checkpoint_table(of_sqlite3)

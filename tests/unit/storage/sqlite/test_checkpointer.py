"""What is committed is copied into the database file beside the writing; the WAL begins anew."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from support.events import event
from support.stores import until

from storage.errors import StorageUnavailable
from storage.sqlite import checkpointer as sqlite_checkpointer
from storage.sqlite.checkpointer import Checkpointer
from storage.sqlite.writer import SqliteWriter


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sqlite_checkpointer, "_INTERVAL_S", 0.01)
    return tmp_path / "log.db"


def rows_in_the_file_alone(path: Path, tmp_path: Path) -> int:
    """What a copy of the database file holds, without its WAL."""
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        try:
            (rows,) = connection.execute("SELECT count(*) FROM events").fetchone()
        except sqlite3.DatabaseError:  # caught in the midst of being written
            return -1
    return int(rows)


def size(path: str) -> int:
    return Path(path).stat().st_size


def content(path: Path) -> bytes:
    return path.read_bytes()


def have_another_write(path: Path) -> None:
    """In a process of its own, since SQLite shares the WAL's index within one."""
    for companion in ("-wal", "-shm"):
        Path(f"{path}{companion}").unlink()
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE other (x)')"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def large(number: int) -> Any:
    return event("t", f"{number}", payload='{"text":"%s"}' % ("x" * 20_000))


async def test_what_is_committed_gets_into_the_file_while_the_store_is_open(
    path: Path, tmp_path: Path
) -> None:
    writer = SqliteWriter(path, busy_timeout_s=10)
    writer.open("w", "1.2.3")
    writer.append([large(number) for number in range(20)])
    await until(lambda: rows_in_the_file_alone(path, tmp_path) == 20, "the rows are copied")
    writer.append([large(20)])
    await until(lambda: rows_in_the_file_alone(path, tmp_path) == 21, "the next one is, too")
    writer.close()


async def test_the_wal_begins_anew_instead_of_growing(path: Path, tmp_path: Path) -> None:
    writer = SqliteWriter(path, busy_timeout_s=10)
    writer.open("w", "1.2.3")
    writer.append([large(number) for number in range(20)])
    first = size(f"{path}-wal")
    copied = partial(rows_in_the_file_alone, path, tmp_path)
    for number in range(20, 60):
        writer.append([large(number)])
        await until(lambda n=number + 1: copied() == n, "it is copied")  # type: ignore[misc]
    assert size(f"{path}-wal") <= 2 * first
    writer.close()


async def test_little_that_came_meanwhile_is_left_to_the_writer(path: Path) -> None:
    passes: list[str] = []

    class Connection:
        """Tells of ever more pages, fewer each time."""

        pages = iter([(0, 1000, 1000), (0, 1500, 1500), (0, 1700, 1700), (0, 9999, 9999)])

        def execute(self, _sql: str) -> Self:
            passes.append("pass")
            return self

        def fetchall(self) -> list[tuple[int, int, int]]:
            return [next(self.pages)]

        def close(self) -> None:
            passes.append("closed")

    def finish() -> None:
        passes.append("finish")

    checkpointer = Checkpointer(
        Connection(),  # type: ignore[arg-type]
        check=lambda: None,
        finish=finish,
        on_failure=lambda error: passes.append(repr(error)),
    )
    checkpointer.committed()
    await until(lambda: "finish" in passes, "it is finished")
    checkpointer.close()
    assert passes == ["pass", "pass", "pass", "finish", "closed"]


@pytest.mark.usefixtures("processes")
async def test_nothing_is_copied_over_what_another_process_wrote_in_a_wal_of_its_own(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_checkpointer, "_INTERVAL_S", 3600)
    writer = SqliteWriter(path, busy_timeout_s=10)
    writer.open("w", "1.2.3")
    writer.append([large(0)])
    have_another_write(path)
    written = content(path)
    assert writer._checkpointer is not None
    with pytest.raises(StorageUnavailable):
        writer._checkpointer.copy()
    assert content(path) == written
    writer.close()
    assert content(path) == written


async def test_after_a_failure_the_next_ping_has_to_prove_that_the_store_can_write(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SqliteWriter(path, busy_timeout_s=10)
    writer.open("w", "1.2.3")
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_checkpointer, "CHECKPOINT", "no SQL")
        writer.append([large(0)])
        await until(lambda: writer._needs_proof, "it failed")
    writer.ping()
    assert not writer._needs_proof
    writer.append([large(1)])
    writer.close()

"""A batch in one thread while the writer is closed in another."""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.events import event

from storage.errors import StorageUnavailable
from storage.model import Event, Status, Verdict
from storage.sqlite import transaction as sqlite_transaction
from storage.sqlite.checkpointer import Checkpointer
from storage.sqlite.writer import SqliteWriter

_LIMIT_S = 30.0


class LateLock:
    """A lock that one thread, once it has come to it, gets only when it is let."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.late: int | None = None
        self.there = threading.Event()
        self.let = threading.Event()

    def __enter__(self) -> None:
        if threading.get_ident() == self.late:
            self.there.set()
            assert self.let.wait(_LIMIT_S)
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


async def test_a_batch_that_comes_to_its_turn_after_the_end_is_refused(tmp_path: Path) -> None:
    path, lock = tmp_path / "log.db", LateLock()
    writer = SqliteWriter(path, busy_timeout_s=10)
    writer._lock = lock  # type: ignore[assignment]
    writer.open("w", "1.2.3")

    def append() -> None:
        lock.late = threading.get_ident()
        writer.append([event("t", "late")])

    # As long as another process uses them, the files stay.
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM events").fetchone() == (0,)
        append_late = asyncio.create_task(asyncio.to_thread(append))
        assert await asyncio.to_thread(lock.there.wait, _LIMIT_S)
        writer.close()
        lock.let.set()
        with pytest.raises(StorageUnavailable, match="not open"):
            await append_late
        assert writer._connection is None, "a connection was left open"
        assert other.execute("SELECT count(*) FROM events").fetchone() == (0,)


class ClosedMeanwhile(SqliteWriter):
    """Closed by another thread as soon as somebody has looked whether it copies anything."""

    _kept: Checkpointer | None = None
    looked = False

    @property
    def _checkpointer(self) -> Checkpointer | None:
        kept = self._kept
        if threading.current_thread() is not threading.main_thread():
            self._kept = None
            self.looked = True
        return kept

    @_checkpointer.setter
    def _checkpointer(self, checkpointer: Checkpointer | None) -> None:
        self._kept = checkpointer


async def test_a_batch_that_is_committed_as_the_store_closes_has_its_verdicts(
    tmp_path: Path,
) -> None:
    writer: Any = ClosedMeanwhile(tmp_path / "log.db", busy_timeout_s=10)
    writer.open("w", "1.2.3")
    copying = writer._kept
    verdicts, _ = await asyncio.to_thread(writer.append, [event("t", "a")])
    assert [verdict.status for verdict in verdicts] == [Status.STORED]
    assert writer.looked
    writer._kept = copying
    writer.close()


async def test_the_end_waits_for_a_batch_of_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, append_batch = threading.Event(), threading.Event(), sqlite_transaction.append

    def append(connection: sqlite3.Connection, batch: Sequence[Event]) -> list[Verdict]:
        begun.set()
        assert go_on.wait(_LIMIT_S)
        return append_batch(connection, batch)

    monkeypatch.setattr(sqlite_transaction, "append", append)
    writer = SqliteWriter(tmp_path / "log.db", busy_timeout_s=10)
    writer.open("w", "1.2.3")
    appending = asyncio.create_task(asyncio.to_thread(writer.append, [event("t", "a")]))
    assert await asyncio.to_thread(begun.wait, _LIMIT_S)
    end = asyncio.create_task(asyncio.to_thread(writer.close))
    while writer._probe is not None:  # noqa: ASYNC110 - the end tells nobody how far it is
        await asyncio.sleep(0)
    assert not end.done()
    go_on.set()
    verdicts, _ = await appending
    assert [verdict.status for verdict in verdicts] == [Status.STORED]
    await end

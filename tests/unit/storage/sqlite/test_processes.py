"""What the two processes of a SQLite store have open, and that they have the same files open."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from support.events import event
from support.sqlite_process import companions, moved, open_files
from support.stores import until

from storage.errors import OutcomeUnknown, StorageUnavailable
from storage.model import Status
from storage.sqlite.store import SqliteStore
from storage.sqlite.writer_protocol import AppendRequest, PingRequest, encode

READERS = 2


pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, busy_timeout_ms=1000, readers=READERS)
    yield store
    await store.aclose()


def threads(pid: int | None = None) -> int:
    return len(list(Path(f"/proc/{pid or 'self'}/task").iterdir()))


def writer_of(store: SqliteStore) -> psutil.Process:
    assert store._process is not None
    return psutil.Process(store._process.pid)


async def kill_writer(store: SqliteStore) -> None:
    writer_of(store).kill()
    await until(lambda: not (store._process and store._process.is_connected), "its end is noticed")


@pytest.mark.usefixtures("processes")
async def test_this_process_has_nothing_open_but_what_it_reads_through(
    store: SqliteStore, path: Path
) -> None:
    before = threads()
    await store.open()
    # A connection has the file and its -wal; the -shm file is shared within a process.
    assert open_files(path) == [""] * READERS + ["-shm"] + ["-wal"] * READERS
    # A thread waits for the end of the other process, where the kernel has nothing better.
    watcher = 1 if sys.version_info < (3, 12) else 0
    assert threads() - before <= READERS + watcher
    await store.append([event("t", "a")])
    await store.ping()
    assert threads() - before <= READERS + watcher

    pid = writer_of(store).pid
    # It writes, it tells whether it could, it copies the -wal into the file.
    assert open_files(path, pid) == [""] * 3 + ["-shm"] + ["-wal"] * 3
    # For questions, for batches, for commands; one that copies, one for the table of writers.
    assert threads(pid) == 5
    await store.aclose()
    assert open_files(path) == []
    assert not any(each.exists() for each in companions(path)), "the last one tidies up"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
async def test_a_writer_that_is_started_anew_opens_no_other_files_than_are_read(
    store: SqliteStore, path: Path, end: str
) -> None:
    await store.open()
    await store.append([event("t", "a")])
    await kill_writer(store)
    name, away = path.with_name(path.name + end), path.with_name("away")
    moved(name, away)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="deleted or replaced while in use"):
            await store.ping()
    assert not name.exists(), "another one was made"
    moved(away, name)
    await store.ping()
    (again, new) = (await store.append([event("t", "a"), event("t", "b")])).verdicts
    assert (again.status, new.status) == (Status.DUPLICATE, Status.STORED)


@pytest.mark.usefixtures("processes")
async def test_the_writer_refuses_files_that_are_not_those_that_are_read(
    store: SqliteStore, path: Path
) -> None:
    await store.open()
    await kill_writer(store)
    others = [(device, inode + 1) for device, inode in store._reader.files.identities]
    with pytest.raises(StorageUnavailable, match="deleted or replaced while in use"):
        await store._start(others)
    await store.ping()
    assert (await store.append([event("t", "a")])).verdicts[0].status is Status.STORED


@pytest.mark.usefixtures("processes")
async def test_a_message_on_the_wrong_socket_is_not_answered_as_something_else(
    store: SqliteStore,
) -> None:
    await store.open()
    for batch_for_questions in (True, False):
        assert store._process is not None
        assert store._process._channels is not None
        writer, channels = writer_of(store), store._process._channels
        pending = asyncio.create_task(store.append([event("t", "a")]))
        await asyncio.sleep(0)  # it is sent first
        if batch_for_questions:
            channels.questions.send(encode(AppendRequest(77, [event("t", "b")])))
        else:
            channels.appends.send(encode(PingRequest(77)))
        await until(lambda writer=writer: not writer.is_running(), "it ends")  # type: ignore[misc]
        # The batch came before, so it was stored; whether it was answered is a matter of luck.
        (outcome,) = await asyncio.gather(pending, return_exceptions=True)
        assert not isinstance(outcome, Exception) or isinstance(outcome, OutcomeUnknown)
        await until(lambda: not (store._process and store._process.is_connected), "it is noticed")
        await store.ping()
        again = (await store.append([event("t", "a")])).verdicts
        assert again[0].status is Status.DUPLICATE
    assert await store.get("t", "b") is None

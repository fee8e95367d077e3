"""A store whose batches are stored by a process of its own: what it passes on, and its end."""

import asyncio
import os
import resource
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from support.events import event
from support.processes import suspend
from support.reading import get_event, read_page
from support.sqlite_pages import overwrite_page, page_bytes, tree
from support.stores import until

from storage.backends import sqlite_store
from storage.errors import OutcomeUnknown, StorageMisconfigured, StorageUnavailable
from storage.model import Query, Status
from storage.sqlite import writer_client as sqlite_writer_client
from storage.sqlite.store import SqliteStore

pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = sqlite_store(tmp_path / "log.db", busy_timeout_ms=100)
    assert isinstance(store, SqliteStore)
    await store.open()
    yield store
    await store.aclose()


def process_of(store: SqliteStore) -> psutil.Process:
    assert store._process is not None
    return psutil.Process(store._process.pid)


def has_lost_it(store: SqliteStore) -> bool:
    """Whether it knows that its process is gone."""
    return store._process is None or not store._process.is_connected


def children() -> list[psutil.Process]:
    """The writing processes that this one has started."""
    # Others may be of other tests, or of Python itself.
    return [
        each
        for each in psutil.Process().children()
        if sqlite_writer_client.MODULE in each.cmdline()
    ]


async def test_what_one_process_stores_the_other_reads(store: SqliteStore) -> None:
    large = event("t", "large", payload='{"text":"%s"}' % ("\u00e4" * 2_000_000))
    verdicts = (await store.append([event("t", "a"), large, event("t", "a")])).verdicts
    assert [(v.event_id, v.status, v.offset) for v in verdicts] == [
        ("a", Status.STORED, 1), ("large", Status.STORED, 2), ("a", Status.DUPLICATE, 1),
    ]  # fmt: skip
    page = await read_page(store, Query(topic="t", newest_first=False))
    assert [each.payload.decode() for each in page.events] == [
        event("t", "a").payload,
        large.payload,
    ]
    found = await get_event(store, "t", "large")
    assert found is not None
    assert found.offset == 2
    assert (await store.stats()).topics["t"].received == 3


async def test_many_batches_at_once_each_get_their_own_verdicts(store: SqliteStore) -> None:
    batches = [[event(f"t{n}", f"{n}-{i}") for i in range(n % 7 + 1)] for n in range(50)]
    outcomes = await asyncio.gather(*(store.append(batch) for batch in batches))
    assert [[v.event_id for v in verdicts] for verdicts, _ in outcomes] == [
        [each.event_id for each in batch] for batch in batches
    ]


async def test_it_is_another_process_and_ends_with_the_store(store: SqliteStore) -> None:
    process = process_of(store)
    assert process.ppid() == os.getpid()
    await store.aclose()
    assert not process.is_running()
    with pytest.raises(StorageUnavailable, match="not running"):
        await store.append([event("t", "a")])
    with pytest.raises(StorageUnavailable, match="not running"):
        await store.ping()
    await store.open()
    await store.ping()


async def test_signals_that_end_the_aggregator_do_not_end_it(store: SqliteStore) -> None:
    process = process_of(store)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert (await store.append([event("t", "a")])).verdicts[0].status is Status.STORED
    assert os.getsid(process.pid) != os.getsid(0), "a terminal's Ctrl-C would reach it"


async def test_killed_it_leaves_an_unknown_outcome_and_is_started_anew(
    store: SqliteStore, tmp_path: Path
) -> None:
    await store.append([event("t", "before")])
    killed = process_of(store)
    suspend(killed)
    appends = [asyncio.create_task(store.append([event("t", f"{n}")])) for n in range(3)]
    ping = asyncio.create_task(store.ping())
    await asyncio.sleep(0)
    killed.kill()
    for append in appends:
        with pytest.raises(OutcomeUnknown, match=r"writer process ended before it answered$"):
            await append
    with pytest.raises(StorageUnavailable):
        await ping
    with pytest.raises(StorageUnavailable, match="not running"):
        await store.append([event("t", "after")])
    # Two who ask at once get one process.
    await asyncio.gather(store.ping(), store.ping())
    assert [child.pid for child in children()] == [process_of(store).pid]
    again = await store.append([event("t", "before"), event("t", "0"), event("t", "after")])
    assert again.verdicts[0].status is Status.DUPLICATE
    counts = (await store.stats()).topics["t"]
    assert counts.received == counts.unique_processed + counts.duplicate_dropped


async def test_a_process_that_ends_at_once_is_told_and_waited_for_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer_client, "MODULE", "storage.no_such_module")
    store = sqlite_store(tmp_path / "log.db", busy_timeout_ms=100)
    async with asyncio.timeout(30):
        with pytest.raises(StorageUnavailable, match=r"ended before it answered|not running"):
            await store.open()
    assert children() == []


async def test_with_no_descriptor_left_for_it_it_is_started_later(store: SqliteStore) -> None:
    process_of(store).kill()
    await until(lambda: has_lost_it(store), "its end is noticed")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(StorageUnavailable, match="can't start the SQLite writer process"):
            await store.ping()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await store.ping()
    assert (await store.append([event("t", "a")])).verdicts[0].status is Status.STORED


async def test_damage_that_a_process_found_outlives_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = sqlite_store(path, busy_timeout_ms=100)
    assert isinstance(store, SqliteStore)
    await store.open()
    await store.append([event("t", f"{n}", '{"text":"%s"}' % ("x" * 1000)) for n in range(500)])
    await store.aclose()
    for page in tree(path, "sqlite_autoindex_events_2").leaves:
        overwrite_page(path, page, b"\xa5" * page_bytes(path))
    await store.open()
    with pytest.raises(StorageUnavailable, match="malformed"):
        await store.append([event("t", f"{n}") for n in range(500)])
    process_of(store).kill()
    await until(lambda: has_lost_it(store), "its end is noticed")
    with pytest.raises(StorageUnavailable, match="is damaged"):
        await store.ping()
    with pytest.raises(StorageUnavailable, match="is damaged"):
        await store.append([event("t", "new")])
    await store.aclose()


async def test_errors_come_as_what_they_are(store: SqliteStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match=r"^SQLite: database is locked$"):
            await store.append([event("t", "a")])
    assert (await store.append([event("t", "a")])).verdicts[0].status is Status.STORED


async def test_a_ping_does_not_wait_behind_a_batch_that_waits_for_a_lock(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path / "log.db", busy_timeout_ms=60_000)
    await store.open()
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        append = asyncio.create_task(store.append([event("t", "a")]))
        await asyncio.sleep(0)  # it is sent first
        async with asyncio.timeout(30):
            for _ in range(50):
                await store.ping()
        assert not append.done()
        other.execute("ROLLBACK")
        assert (await append).verdicts[0].status is Status.STORED
    await store.aclose()


async def test_what_it_can_t_read_ends_the_process_and_leaves_nobody_waiting(
    store: SqliteStore,
) -> None:
    process = process_of(store)
    assert store._process is not None
    assert store._process._channels is not None
    store._process._channels.appends.send(b"no batch")
    with pytest.raises(OutcomeUnknown, match="ended before it answered"):
        await store.append([event("t", "a")])
    await until(lambda: not process.is_running(), "the process ends")
    await store.ping()
    assert (await store.append([event("t", "a")])).verdicts[0].status is Status.STORED


async def test_an_append_that_nobody_waits_for_any_more_is_stored(store: SqliteStore) -> None:
    append = asyncio.create_task(store.append([event("t", "a")]))
    await asyncio.sleep(0)
    append.cancel()
    await asyncio.wait([append])
    assert (await store.append([event("t", "a")])).verdicts[0].status is Status.DUPLICATE


async def test_a_file_that_can_t_be_used_is_told_and_no_process_is_left(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    path.write_text("no database, and longer than what SQLite would take for an empty file" * 99)
    store = sqlite_store(path, busy_timeout_ms=100)
    with pytest.raises(StorageMisconfigured, match="not a database"):
        await store.open()
    assert children() == []


async def test_it_ends_when_the_process_that_uses_it_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from storage.backends import sqlite_store\n"
        "async def main():\n"
        "    store = sqlite_store(Path(sys.argv[1]), busy_timeout_ms=100)\n"
        "    await store.open()\n"
        "    print(store._process.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    user = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", script, str(tmp_path / "log.db")],
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[4])},
    )
    assert user.stdout is not None
    process = psutil.Process(int(await user.stdout.readline()))
    user.kill()
    await user.wait()
    await until(lambda: not process.is_running(), "the writer process ends")

"""How long the SQLite store waits: for the process that writes, for its files, for a read."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from support.commands import creation
from support.events import event
from support.processes import suspend
from support.sqlite_process import open_files
from support.stores import until

from storage.errors import OutcomeUnknown, StorageUnavailable
from storage.model import Status
from storage.reading import log_reader
from storage.sqlite import reader_connection
from storage.sqlite import writer_client as sqlite_writer_client
from storage.sqlite.connection import FIRST_READ, GuardedConnection
from storage.sqlite.pending_replies import PendingReplies
from storage.sqlite.process_output import ProcessOutput
from storage.sqlite.store import SqliteStore
from storage.sqlite.writer_client import WriterProcess
from storage.subscriptions.outcomes import Kept

pytestmark = pytest.mark.usefixtures("processes")

ENDLESS = """
WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)
SELECT x, x, x, x, x FROM n WHERE x < 0"""


@pytest.fixture
def texts() -> list[str]:
    """What the process said."""
    return []


@pytest.fixture
async def store(tmp_path: Path, texts: list[str]) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(
        tmp_path / "log.db",
        busy_timeout_ms=100,
        command_timeout_ms=400,
        on_process_output=texts.append,
    )
    await until_done(store.open)
    yield store
    await store.aclose()


def process_of(store: SqliteStore) -> psutil.Process:
    assert store._process is not None
    return psutil.Process(store._process.pid)


async def until_done(attempt: Callable[[], Awaitable[None]]) -> None:
    """Try until it succeeds, as whoever watches a store does."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await attempt()
            except StorageUnavailable:
                await asyncio.sleep(0.05)


async def test_a_process_that_does_not_answer_is_killed_and_another_one_is_started(
    store: SqliteStore,
) -> None:
    stopped = process_of(store)
    suspend(stopped)
    outcomes = await asyncio.gather(
        *(store.append([event("t", f"{number}")]) for number in range(2)),
        *(store.ping() for _ in range(3)),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes] == [OutcomeUnknown] * 2 + [StorageUnavailable] * 3
    (sentence,) = {str(each) for each in outcomes}
    assert sentence.startswith("the SQLite writer process gave no answer for 0.5 s and was killed")
    with pytest.raises(StorageUnavailable, match="gave no answer"):
        await store.append([event("t", "2")])
    await until_done(store.ping)
    assert not stopped.is_running()
    verdicts = (await store.append([event("t", f"{number}") for number in range(3)])).verdicts
    assert {verdict.status for verdict in verdicts} == {Status.STORED}


async def test_beside_one_that_can_t_be_killed_no_other_is_started(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = process_of(store)
    suspend(stuck)
    with monkeypatch.context() as patch:
        # As of a process inside the kernel, of which nothing comes back.
        patch.setattr(WriterProcess, "abandon", lambda _process: None)
        patch.setattr(sqlite_writer_client, "_KILLED_S", 0.05)
        with pytest.raises(OutcomeUnknown, match="gave no answer"):
            await store.append([event("t", "a")])
        with pytest.raises(StorageUnavailable, match=rf"\(pid {stuck.pid}\).* hangs in the kernel"):
            await store.ping()
        await store.aclose()
        with pytest.raises(StorageUnavailable, match="is still being closed"):
            await store.open()
        assert process_of(store).pid == stuck.pid
    stuck.kill()
    await until(lambda: not stuck.is_running(), "it is gone")
    await until_done(store.open)
    assert (await store.append([event("t", "a")])).verdicts[0].status is Status.STORED


async def test_the_time_of_a_request_begins_when_the_one_before_it_is_done() -> None:
    overdue = list[str]()

    def on_overdue() -> None:
        overdue.append("no answer")
        pending.fail_all("no answer")

    pending = PendingReplies(1000, on_overdue)
    now = asyncio.get_running_loop().time()
    opening, opened = pending.add(StorageUnavailable, extra_s=10)
    pending.resolve(opening, None)
    await opened
    (first, stored), (_, second), (ping, _), (_, last) = (
        pending.add(unknown)
        for unknown in (OutcomeUnknown, OutcomeUnknown, StorageUnavailable, OutcomeUnknown)
    )
    assert pending._timer is not None
    assert pending._timer.when() == pending._since + 1000, "what opening may take is not its time"

    pending._since = now - 100
    pending.resolve(ping, None)
    assert pending._since == now - 100, "a ping that was answered is no sign of a batch"
    pending.resolve(first, None)
    assert pending._since >= now
    await stored

    # So late itself, this process did not run, and perhaps the other did not either.
    pending._since = now - 1010
    pending._look()
    assert pending._since >= now
    assert not second.done()
    pending._since = asyncio.get_running_loop().time() - 1000.5
    pending._look()
    assert overdue == ["no answer"]
    for reply in (second, last):
        with pytest.raises(OutcomeUnknown, match="no answer"):
            await reply
    assert pending._timer is None


async def test_reads_that_take_too_long_are_given_up_and_let_go_of_their_connections(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(log_reader, "STATS", ENDLESS)
        # One more than there are connections.
        outcomes = await asyncio.gather(*(store.stats() for _ in range(3)), return_exceptions=True)
    assert {type(each) for each in outcomes} == {StorageUnavailable}
    assert all("could not be read within 0.5 s" in str(each) for each in outcomes)
    await until(lambda: not store._reading, "nothing is read any more")
    assert (await store.usage()).pools["readers"].in_use == 0
    await store.stats()


async def test_a_file_whose_opening_hangs_is_not_opened_a_second_time_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, opened = threading.Event(), list[object]()

    class Hanging(GuardedConnection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            cursor = super().execute(sql, *arguments)
            if sql == FIRST_READ:
                opened.append(None)
                assert goes_on.wait(60)
            return cursor

    monkeypatch.setattr(reader_connection, "GuardedConnection", Hanging)
    store = SqliteStore(tmp_path / "log.db", busy_timeout_ms=50, command_timeout_ms=50)
    attempts = set()
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match=r"could not be opened within 0\.1 s"):
            await store.open()
        attempts.add(store._starting)
        await until(lambda: bool(opened), "it hangs")
    assert len(attempts) == 1
    # Nor does it hold up the end; what is opened late is closed.
    await store.aclose()
    with pytest.raises(StorageUnavailable, match="could not be opened within"):
        await store.open()
    assert len(opened) == 1
    goes_on.set()
    assert store._starting is not None
    await asyncio.wait([store._starting])
    assert open_files(tmp_path / "log.db") == []


async def test_what_nobody_foresaw_is_told_with_where_it_was(
    store: SqliteStore, texts: list[str]
) -> None:
    too_large = msgspec.structs.replace(event("t", "a"), timestamp_us=2**63)
    with pytest.raises(OutcomeUnknown, match="the log has the details") as caught:
        await store.append([too_large])
    # Its words may hold anything, and this is what a client is told.
    assert "OverflowError" not in str(caught.value)
    (text,) = texts
    assert text.startswith("Traceback")
    assert "OverflowError" in text
    assert "transaction.py" in text
    await until_done(store.ping)
    assert (await store.append([event("t", "a")])).verdicts[0].status is Status.STORED


async def test_what_a_process_says_that_does_not_even_start_is_told(
    tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer_client, "MODULE", "storage.no_such_module")
    store = SqliteStore(tmp_path / "log.db", busy_timeout_ms=9, on_process_output=texts.append)
    with pytest.raises(StorageUnavailable, match=r"ended before it answered|not running"):
        await store.open()
    assert "No module named storage.no_such_module" in "".join(texts)
    await store.aclose()


async def test_what_is_written_in_one_go_is_one_text_and_none_is_endless() -> None:
    texts: list[str] = []
    output = ProcessOutput(texts.append)
    output.connection_made(asyncio.Transport())
    output.data_received(b"Traceback:\n  a line, \xff\n")
    output.data_received(b"the error\n\n")
    assert texts == []
    await until(lambda: bool(texts), "it paused")
    assert texts == ["Traceback:\n  a line, \\xff\nthe error"]
    output.data_received(b"x" * 40_000)
    assert [len(text) for text in texts[1:]] == [16384, 16384]
    assert not output.ended.is_set()
    output.connection_lost(None)
    assert len(texts[3]) == 40_000 - 2 * 16384
    assert output.ended.is_set()


async def test_commands_that_are_not_answered_in_time_have_an_unknown_outcome(
    store: SqliteStore,
) -> None:
    suspend(process_of(store))
    with pytest.raises(OutcomeUnknown, match="gave no answer"):
        await store.apply([creation()])
    await until_done(store.ping)
    (made,) = await store.apply([creation()])
    assert isinstance(made, Kept)

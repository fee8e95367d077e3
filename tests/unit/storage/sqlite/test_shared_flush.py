"""Batches of events and commands of subscriptions: when they share a flush, and its failures."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.commands import creation, lease, settle
from support.events import event

from storage.errors import BatchRefused, OutcomeUnknown, StorageUnavailable
from storage.model import Event, Status
from storage.sqlite import subscriptions as sqlite_subscriptions
from storage.sqlite import transaction as sqlite_transaction
from storage.sqlite.connection import GuardedConnection
from storage.sqlite.shared_flush import MAX_SHARED_EVENTS
from storage.sqlite.write_turn import WriteTurn
from storage.sqlite.writer import SqliteWriter
from storage.subscriptions.commands import Command
from storage.subscriptions.outcomes import Leased, Outcome

_LIMIT_S = 30.0


class SignallingTurn(WriteTurn):
    """Tells when an errand waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Semaphore(0)

    def _comes_first(self, errand: Any) -> bool:
        # Whoever looks finds it there: it is put down before its thread lets go of this.
        with self._changed:
            self.waits.release()
            return super()._comes_first(errand)


class Scene:
    """A writer, and commands that come while somebody else has the turn."""

    def __init__(self, path: Path, threads: ThreadPoolExecutor) -> None:
        self.writer = SqliteWriter(path, busy_timeout_s=0.1)
        self.turn = SignallingTurn()
        self.writer._lock = self.writer._flush._turn = self.turn
        self.writer.open("w", "1.2.3")
        self._threads = threads
        self.commits = 0
        assert self.writer._connection is not None
        self.writer._connection.set_trace_callback(self._trace)

    def _trace(self, statement: str) -> None:
        self.commits += statement == "COMMIT"

    def both(
        self, batch: Sequence[Event], commands: Sequence[Command]
    ) -> tuple[Callable[[], object], Callable[[], list[Outcome]]]:
        """Have commands wait while a batch begins; return what tells how each ended."""
        with self.turn:
            self.turn.waits = threading.Semaphore(0)
            applied = self._threads.submit(self.writer.apply, commands)
            assert self.turn.waits.acquire(timeout=_LIMIT_S)
            with self.turn._changed:
                pass  # it waits
            self.commits = 0
            appended = self._threads.submit(self.writer._flush.append, batch)
            appended.exception(_LIMIT_S)
        applied.exception(_LIMIT_S)
        return appended.result, applied.result


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ThreadPoolExecutor(2) as threads:
        scene = Scene(tmp_path / "log.db", threads)
        scene.writer.apply([creation()])
        scene.writer.append([event("t", "first")])
        yield scene
        scene.writer.close()


def events(count: int) -> list[Event]:
    return [event("t", f"e-{n}") for n in range(count)]


def heads(outcomes: list[Outcome]) -> list[tuple[int, int]]:
    """The first and last offset of each lease."""
    leased = [each for each in outcomes if isinstance(each, Leased)]
    return [(each.granted[0].first, each.granted[-1].last) for each in leased]


def test_a_small_batch_and_commands_that_wait_share_a_flush(scene: Scene) -> None:
    appended, applied = scene.both(events(MAX_SHARED_EVENTS), [lease(10_000)])
    assert len(appended().verdicts) == MAX_SHARED_EVENTS  # type: ignore[attr-defined]
    assert scene.commits == 1
    assert heads(applied()) == [(1, 1 + MAX_SHARED_EVENTS)], "a lease finds the new events"


def test_commands_that_wait_come_ahead_of_a_large_batch(scene: Scene) -> None:
    appended, applied = scene.both(events(MAX_SHARED_EVENTS + 1), [lease(10_000)])
    assert len(appended().verdicts) == MAX_SHARED_EVENTS + 1  # type: ignore[attr-defined]
    assert scene.commits == 2
    assert heads(applied()) == [(1, 1)]


def test_commands_without_a_batch_have_a_transaction_of_their_own(scene: Scene) -> None:
    scene.commits = 0
    assert heads(scene.writer.apply([lease(10)])) == [(1, 1)]
    assert scene.commits == 1


def test_a_batch_without_commands_has_a_transaction_of_its_own(scene: Scene) -> None:
    scene.commits = 0
    scene.writer.append(events(1))
    assert scene.commits == 1


def test_commands_that_fail_cost_the_events_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: sqlite3.Connection, _commands: Sequence[Command]) -> list[Outcome]:
        connection.execute("INSERT INTO subscriptions VALUES ('s', 'x', '{}', NULL, -1, 0)")
        return []

    monkeypatch.setattr(sqlite_subscriptions, "apply", refuse)
    appended, applied = scene.both(events(2), [lease(10)])
    assert len(appended().verdicts) == 2  # type: ignore[attr-defined]
    with pytest.raises(BatchRefused, match="CHECK constraint"):
        applied()
    assert [each.status for each in scene.writer.append(events(2)).verdicts] == [
        Status.DUPLICATE
    ] * 2


def test_events_that_fail_cost_the_commands_nothing(scene: Scene) -> None:
    wrong = event("t", "e", source=None)  # type: ignore[arg-type]
    appended, applied = scene.both([wrong], [lease(10)])
    with pytest.raises(BatchRefused, match="stored 0 of 1"):
        appended()
    assert heads(applied()) == [(1, 1)]
    assert scene.commits == 1


def test_an_unknown_outcome_is_that_of_both(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    execute = GuardedConnection.execute

    def lose(connection: GuardedConnection, sql: str, *arguments: Any) -> sqlite3.Cursor:
        cursor = execute(connection, sql, *arguments)
        if sql == "COMMIT":
            raise StorageUnavailable("the file is gone")
        return cursor

    monkeypatch.setattr(GuardedConnection, "execute", lose)
    for ended in scene.both(events(1), [lease(10)]):
        with pytest.raises(OutcomeUnknown, match="the file is gone"):
            ended()


def test_a_lock_that_is_not_given_is_a_failure_of_both(scene: Scene, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    other.execute(sqlite_transaction.BEGIN)
    for ended in scene.both(events(1), [lease(10)]):
        with pytest.raises(StorageUnavailable, match="locked"):
            ended()
    other.close()
    appended, applied = scene.both(events(1), [lease(10)])
    assert len(appended().verdicts) == 1  # type: ignore[attr-defined]
    assert heads(applied()) == [(1, 2)]


def test_commands_are_done_beside_one_batch_after_the_other(scene: Scene) -> None:
    ended = threading.Event()

    def publish() -> int:
        stored = 0
        while not ended.is_set():
            size = 600 if stored % 2 else 3
            batch = [event("t", f"{stored}-{n}") for n in range(size)]
            stored += len(scene.writer.append(batch).verdicts)
        return stored

    publishing = scene._threads.submit(publish)
    seen = 0
    try:
        for _ in range(15):
            (leased,) = scene.writer.apply([command := lease(1000)])
            for granted in leased.granted if isinstance(leased, Leased) else ():
                assert granted.first == seen + 1
                seen = granted.last
                scene.writer.apply([settle(command, leased)])
    finally:
        ended.set()
    assert 0 < seen <= publishing.result(_LIMIT_S) + 1

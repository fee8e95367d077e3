"""The store's watch: publishes are refused from the first failure until a ping succeeds."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.in_process import InProcessStore

from aggregator.ingest import store_monitor
from aggregator.ingest.store_monitor import StoreMonitor
from storage.errors import (
    BatchRefused,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)


class FailingStore(InProcessStore):
    """Fails as it is told, call by call, and then works."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.on_open: list[StorageError] = []
        self.on_ping: list[StorageError] = []
        self.pings = 0

    async def open(self) -> None:
        if self.on_open:
            raise self.on_open.pop(0)
        await super().open()

    async def ping(self) -> None:
        self.pings += 1
        if self.on_ping:
            raise self.on_ping.pop(0)
        await super().ping()


class Reasons(list[str | None]):
    """What `on_change` was told; `back()` returns once the store is available."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, reason: str | None) -> None:
        self.append(reason)
        self._tasks.add(asyncio.create_task(self._tell()))

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def back(self) -> None:
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(lambda: self and self[-1] is None)


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FailingStore]:
    monkeypatch.setattr(store_monitor, "_FIRST_WAIT_S", 0.001)
    store = FailingStore(tmp_path / "events.db")
    yield store
    await store.aclose()


@pytest.fixture
def reasons() -> Reasons:
    return Reasons()


@pytest.fixture
async def watched(store: FailingStore, reasons: Reasons) -> AsyncIterator[StoreMonitor]:
    """A watch that runs on a store that could be opened."""
    watched = StoreMonitor(store, reasons.note)
    task = asyncio.create_task(watched.run())
    await reasons.back()
    reasons.clear()
    yield watched
    assert not task.done(), "the watch ended"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_nothing_is_taken_before_the_store_is_open(
    store: FailingStore, reasons: Reasons
) -> None:
    store.on_open = [StorageUnavailable("not yet"), StorageUnavailable("not yet")]
    opening = StoreMonitor(store, reasons.note)
    with pytest.raises(StorageUnavailable, match="being opened"):
        opening.check()
    task = asyncio.create_task(opening.run())
    await opening.tried.wait()
    with pytest.raises(StorageUnavailable, match="not yet"):
        opening.check()
    await reasons.back()
    opening.check()
    assert opening.failed_attempts == 2
    assert reasons == ["not yet", None]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_store_that_can_never_be_opened_ends_the_watch(
    store: FailingStore, reasons: Reasons
) -> None:
    store.on_open = [StorageMisconfigured("no such database")]
    with pytest.raises(StorageMisconfigured):
        await StoreMonitor(store, reasons.note).run()
    assert reasons == []


@pytest.mark.parametrize(
    "error",
    [
        StorageUnavailable("still away"),
        StorageMisconfigured("the password was changed"),
        BatchRefused("an internal error"),
        StorageError("anything else"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_once_suspected_a_store_is_refused_until_a_ping_succeeds(
    watched: StoreMonitor, store: FailingStore, reasons: Reasons, error: StorageError
) -> None:
    watched.check()
    store.on_ping = [error] * 3
    watched.suspect(StorageUnavailable("gone"))
    with pytest.raises(StorageUnavailable, match="gone"):
        watched.check()
    await reasons.back()
    watched.check()
    assert reasons == ["gone", str(error), None]
    assert store.on_ping == []


async def test_a_store_that_is_back_is_left_alone(
    watched: StoreMonitor, store: FailingStore, reasons: Reasons
) -> None:
    watched.suspect(StorageUnavailable("gone"))
    await reasons.back()
    for _ in range(20):  # time enough for pings, if any came
        await store.get("orders", "e-1")
    assert store.pings == 1

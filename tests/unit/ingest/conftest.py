"""A group commit on a real SQLite store that the test controls."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from support.in_process import InProcessStore
from support.stores import ControlledStore

from aggregator.ingest.flush import Flush
from aggregator.ingest.group_commit import GroupCommit

MakeGroupCommit = Callable[..., GroupCommit]


@pytest.fixture
async def controlled(tmp_path: Path) -> AsyncIterator[ControlledStore]:
    """An open SQLite store under the test's control."""
    store = ControlledStore(InProcessStore(tmp_path / "events.db"))
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def flushes() -> list[Flush]:
    """Every transaction that the group commit told of."""
    return []


@pytest.fixture
async def make_group_commit(
    controlled: ControlledStore, flushes: list[Flush]
) -> AsyncIterator[MakeGroupCommit]:
    """Starts a group commit with its bounds; it is drained at the end."""
    made: list[GroupCommit] = []

    def make(*, max_flush_events: int = 1000, max_flush_bytes: int = 10**6) -> GroupCommit:
        group_commit = GroupCommit(
            controlled,
            max_flush_events=max_flush_events,
            max_flush_bytes=max_flush_bytes,
            on_flush=flushes.append,
        )
        group_commit.start()
        made.append(group_commit)
        return group_commit

    yield make
    controlled.release()
    for group_commit in made:
        await group_commit.drain(30)


@pytest.fixture
async def group_commit(make_group_commit: MakeGroupCommit) -> GroupCommit:
    """A group commit with bounds that nothing here reaches."""
    return make_group_commit()

"""What group commit tells whoever traces it."""

import asyncio
from collections.abc import Sequence

import pytest
from support.events import event
from support.stores import ControlledStore, until

from aggregator.ingest.flush import Flush
from aggregator.ingest.group_commit import GroupCommit
from storage.errors import BatchRefused, OutcomeUnknown, StorageUnavailable


class Recorded:
    """Notes all that is told, in the order in which it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.traces = True

    def flush(self, events: int, origins: Sequence[object]) -> "_RecordedFlush | None":
        self.told.append(("flush", events, *origins))
        return _RecordedFlush(self) if self.traces else None


class _RecordedFlush:
    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self.log_fields = {"span_id": f"flush-{len(recorded.told)}"}

    def transaction(self, *, events: int, requests: int) -> "_RecordedTransaction":
        self._recorded.told.append(("begin", events, requests))
        return _RecordedTransaction(self._recorded)

    def end(self) -> None:
        self._recorded.told.append(("end of flush",))


class _RecordedTransaction:
    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded

    def end(self, error: BaseException | None) -> None:
        self._recorded.told.append(("end", type(error).__name__ if error else "committed"))


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
async def group_commit(
    controlled: ControlledStore, flushes: list[Flush], recorded: Recorded
) -> GroupCommit:
    made = GroupCommit(
        controlled,
        max_flush_events=1000,
        max_flush_bytes=10**6,
        on_flush=flushes.append,
        start_span=recorded.flush,
    )
    made.start()
    return made


async def test_a_flush_its_origins_and_its_transaction(
    group_commit: GroupCommit, recorded: Recorded, flushes: list[Flush]
) -> None:
    one = group_commit.submit([event("t", "a"), event("t", "b")], 1, "first")
    other = group_commit.submit([event("t", "c")], 1)
    await asyncio.gather(one, other)
    await until(lambda: len(recorded.told) == 4, "the end of the flush")
    assert recorded.told == [
        ("flush", 3, "first", None),
        ("begin", 3, 2),
        ("end", "committed"),
        ("end of flush",),
    ]
    assert [flush.log_fields for flush in flushes] == [{"span_id": "flush-1"}]


async def test_a_refused_batch_is_one_flush_and_each_try_a_transaction(
    group_commit: GroupCommit,
    controlled: ControlledStore,
    recorded: Recorded,
    flushes: list[Flush],
) -> None:
    controlled.refused = {"bad"}
    waiting = [group_commit.submit([event("t", id_)], 1, id_) for id_ in ("a", "bad", "c")]
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(done[1], BatchRefused)
    await until(lambda: ("end of flush",) in recorded.told, "the end of the flush")
    assert recorded.told == [
        ("flush", 3, "a", "bad", "c"),
        ("begin", 3, 3), ("end", "BatchRefused"),
        ("begin", 1, 1), ("end", "committed"),
        ("begin", 1, 1), ("end", "BatchRefused"),
        ("begin", 1, 1), ("end", "committed"),
        ("end of flush",),
    ]  # fmt: skip
    assert {flush.log_fields["span_id"] for flush in flushes} == {"flush-1"}


@pytest.mark.parametrize("error", [StorageUnavailable("away"), OutcomeUnknown("who knows")])
async def test_a_failure_ends_both(
    group_commit: GroupCommit,
    controlled: ControlledStore,
    recorded: Recorded,
    error: StorageUnavailable | OutcomeUnknown,
) -> None:
    controlled.broken = error
    with pytest.raises(type(error)):
        await group_commit.submit([event("t", "a")], 1)
    await until(lambda: ("end of flush",) in recorded.told, "the end of the flush")
    assert recorded.told[2:] == [("end", type(error).__name__), ("end of flush",)]


async def test_what_the_drain_gives_up_ends_too(
    group_commit: GroupCommit, controlled: ControlledStore, recorded: Recorded
) -> None:
    controlled.hold()
    waiting = group_commit.submit([event("t", "a")], 1)
    await controlled.begun()
    await group_commit.drain(0)
    with pytest.raises(OutcomeUnknown):
        await waiting
    assert recorded.told[2:] == [("end", "CancelledError"), ("end of flush",)]


async def test_a_flush_that_is_not_traced_is_flushed_all_the_same(
    group_commit: GroupCommit, recorded: Recorded, flushes: list[Flush]
) -> None:
    recorded.traces = False
    await group_commit.submit([event("t", "a")], 1)
    assert recorded.told == [("flush", 1, None)]
    assert [dict(flush.log_fields) for flush in flushes] == [{}]

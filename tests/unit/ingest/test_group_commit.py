"""Group commit: who shares a transaction, and who gets which verdicts."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TypeAlias

import pytest
from support.events import event
from support.stores import ControlledStore

from aggregator.ingest import group_commit as module
from aggregator.ingest.flush import Flush
from aggregator.ingest.group_commit import GroupCommit
from storage.errors import BatchRefused, OutcomeUnknown, StorageError, StorageUnavailable
from storage.model import Event, Status, Verdict

Submitted: TypeAlias = "asyncio.Task[list[Verdict]]"


def submit(group_commit: GroupCommit, events: Sequence[Event], size: int = 1) -> Submitted:
    async def wait() -> list[Verdict]:
        return await group_commit.submit(events, size)

    return asyncio.create_task(wait())


async def behind_a_held_append(
    group_commit: GroupCommit,
    store: ControlledStore,
    requests: Sequence[Sequence[Event]],
    size: int = 1,
) -> list[Submitted]:
    """Tasks of a first request, whose append is held, and of others that wait behind it.

    They are submitted in one step and share a batch, which the store has before it works on it.
    """
    store.hold()
    tasks = [submit(group_commit, [event("t", "first")])]
    await store.begun()
    tasks += [submit(group_commit, request, size) for request in requests]
    await asyncio.sleep(0)  # each of them has run up to its wait
    return tasks


async def turns() -> None:
    """Let everybody do what they can."""
    for _ in range(20):
        await asyncio.sleep(0)


def outcomes(verdicts: Sequence[Verdict]) -> list[tuple[str, Status, int]]:
    return [(v.event_id, v.status, v.offset) for v in verdicts]


async def test_a_lone_request_is_committed_at_once(
    group_commit: GroupCommit, controlled: ControlledStore
) -> None:
    verdicts = await group_commit.submit([event("t", "a"), event("t", "b")], 10)
    assert outcomes(verdicts) == [("a", Status.STORED, 1), ("b", Status.STORED, 2)]
    assert controlled.batches == [["a", "b"]]


async def test_requests_that_wait_at_the_same_time_share_one_transaction(
    group_commit: GroupCommit, controlled: ControlledStore, flushes: list[Flush]
) -> None:
    requests = [[event("t", f"{n}"), event("t", "same")] for n in range(10)]
    tasks = await behind_a_held_append(group_commit, controlled, requests)
    assert controlled.batches == [["first"]]
    controlled.release()
    first, *others = await asyncio.gather(*tasks)
    assert outcomes(first) == [("first", Status.STORED, 1)]
    assert controlled.batches == [["first"], [e.event_id for r in requests for e in r]]
    assert [(f.events, f.requests, f.error) for f in flushes] == [(1, 1, None), (20, 10, None)]
    # In the order they came, each with its own verdicts.
    assert outcomes(others[0]) == [("0", Status.STORED, 2), ("same", Status.STORED, 3)]
    for n, verdicts in enumerate(others[1:], start=1):
        assert outcomes(verdicts) == [(f"{n}", Status.STORED, n + 3), ("same", Status.DUPLICATE, 3)]


async def test_the_store_is_given_the_next_batch_once_it_holds_as_much_as_the_one_under_way(
    group_commit: GroupCommit, controlled: ControlledStore
) -> None:
    controlled.hold()
    tasks = [submit(group_commit, [event("t", f"first-{n}") for n in range(3)])]
    await controlled.begun()
    tasks.append(submit(group_commit, [event("t", "a"), event("t", "b")]))
    await turns()
    assert len(controlled.batches) == 1, "two are less than three"
    tasks.append(submit(group_commit, [event("t", "c")]))
    await turns()
    assert controlled.batches[1:] == [["a", "b", "c"]]
    # That makes two: whatever comes now waits until one of them is done.
    tasks += [submit(group_commit, [event("t", f"last-{n}")]) for n in range(9)]
    await turns()
    assert len(controlled.batches) == 2
    controlled.release()
    assert [len(verdicts) for verdicts in await asyncio.gather(*tasks)] == [3, 2, 1] + [1] * 9
    assert controlled.batches[2:] == [[f"last-{n}" for n in range(9)]]


async def test_the_store_has_the_next_batch_before_the_last_one_is_answered(
    group_commit: GroupCommit, controlled: ControlledStore
) -> None:
    first, second = await behind_a_held_append(group_commit, controlled, [[event("t", "a")]])
    behind = submit(group_commit, [event("t", "b")])
    begun: list[int] = []
    first.add_done_callback(lambda _: begun.append(len(controlled.batches)))
    controlled.release()
    await asyncio.gather(first, second, behind)
    assert begun == [3]


async def test_a_flush_is_bounded_in_events(
    make_group_commit: Callable[..., GroupCommit], controlled: ControlledStore
) -> None:
    group_commit = make_group_commit(max_flush_events=5)
    requests = [[event("t", f"{n}-{i}") for i in range(2)] for n in range(5)]
    requests.append([event("t", f"large-{i}") for i in range(7)])
    requests.append([event("t", "last")])
    tasks = await behind_a_held_append(group_commit, controlled, requests)
    controlled.release()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in controlled.batches] == [1, 4, 4, 2, 7, 1]
    assert [id_ for batch in controlled.batches[1:] for id_ in batch] == [
        e.event_id for request in requests for e in request
    ]


async def test_a_flush_may_be_as_large_as_its_bound(
    make_group_commit: Callable[..., GroupCommit], controlled: ControlledStore
) -> None:
    group_commit = make_group_commit(max_flush_events=4)
    requests = [[event("t", f"{n}-{i}") for i in range(2)] for n in range(4)]
    tasks = await behind_a_held_append(group_commit, controlled, requests)
    controlled.release()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in controlled.batches] == [1, 4, 4]


async def test_a_flush_tells_its_time_in_ms(
    group_commit: GroupCommit, flushes: list[Flush], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count(1000.0, 0.25)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=seconds.__next__))
    await group_commit.submit([event("t", "a")], 1)
    assert [flush.duration_ms for flush in flushes] == [250.0]


async def test_a_flush_is_bounded_in_bytes(
    make_group_commit: Callable[..., GroupCommit], controlled: ControlledStore
) -> None:
    group_commit = make_group_commit(max_flush_bytes=30)
    tasks = await behind_a_held_append(
        group_commit, controlled, [[event("t", f"{n}")] for n in range(7)], size=10
    )
    tasks.append(submit(group_commit, [event("t", "large")], 31))
    await asyncio.sleep(0)
    controlled.release()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in controlled.batches] == [1, 3, 3, 1, 1]


async def test_a_cancelled_request_disturbs_no_neighbour(
    group_commit: GroupCommit, controlled: ControlledStore
) -> None:
    requests = [[event("t", "a")], [event("t", "b")], [event("t", "c")]]
    first, *tasks = await behind_a_held_append(group_commit, controlled, requests)
    first.cancel()  # its append is under way
    tasks[1].cancel()  # it still waits
    await asyncio.wait([first, tasks[1]])
    controlled.release()
    assert outcomes(await tasks[0]) == [("a", Status.STORED, 2)]
    assert [v.event_id for v in await tasks[2]] == ["c"]
    # What was under way is stored all the same: sending it again gets the first offset.
    again = await group_commit.submit([event("t", "first")], 1)
    assert outcomes(again) == [("first", Status.DUPLICATE, 1)]


async def test_a_refused_batch_is_tried_again_request_by_request(
    group_commit: GroupCommit, controlled: ControlledStore, flushes: list[Flush]
) -> None:
    controlled.refused = {"poison"}
    requests = [[event("t", "a")], [event("t", "b"), event("t", "poison")], [event("t", "c")]]
    _, *tasks = await behind_a_held_append(group_commit, controlled, requests)
    controlled.release()
    assert outcomes(await tasks[0]) == [("a", Status.STORED, 2)]
    with pytest.raises(BatchRefused):
        await tasks[1]
    assert outcomes(await tasks[2]) == [("c", Status.STORED, 3)]
    assert controlled.batches[1:] == [["a", "b", "poison", "c"], ["a"], ["b", "poison"], ["c"]]
    # The first batch was held with the store until these were there as well.
    assert [(f.requests, type(f.error)) for f in flushes] == [
        (3, BatchRefused),
        (1, type(None)),
        (1, type(None)),
        (1, BatchRefused),
        (1, type(None)),
    ]


@pytest.mark.parametrize("error", [StorageUnavailable("away"), OutcomeUnknown("who knows")])
async def test_any_other_failure_is_everybody_s_and_nothing_is_tried_again(
    group_commit: GroupCommit, controlled: ControlledStore, error: StorageError
) -> None:
    requests = [[event("t", "a")], [event("t", "b")]]
    first, *tasks = await behind_a_held_append(group_commit, controlled, requests)
    controlled.broken = error
    controlled.release()
    for task in (first, *tasks):
        with pytest.raises(type(error)):
            await task
    assert controlled.batches == [["first"], ["a", "b"]]
    controlled.broken = None
    assert outcomes(await group_commit.submit([event("t", "a")], 1)) == [("a", Status.STORED, 1)]


async def test_a_fault_nobody_foresaw_reaches_the_waiting_and_the_next_request_is_taken(
    group_commit: GroupCommit,
    controlled: ControlledStore,
    flushes: list[Flush],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(_batch: Sequence[Event]) -> list[Verdict]:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(controlled, "append", fail)
        with pytest.raises(OutcomeUnknown, match="may be stored or not"):
            await group_commit.submit([event("t", "a")], 1)
    assert isinstance(flushes[0].error, RuntimeError)
    assert outcomes(await group_commit.submit([event("t", "a")], 1)) == [("a", Status.STORED, 1)]

"""Draining: what waits is stored, what comes is refused, and nobody is left without an answer."""

import asyncio
from collections.abc import Sequence

import pytest
from support.events import event
from support.stores import ControlledStore

from aggregator.ingest.flush import Flush
from aggregator.ingest.group_commit import GroupCommit, ShuttingDown
from storage.errors import BatchRefused, OutcomeUnknown
from storage.model import Event, Status, Verdict


async def waiting(group_commit: GroupCommit, *ids: str) -> list[asyncio.Task[list[Status]]]:
    """A request a given id, each waiting for its verdict."""

    async def submit(event_id: str) -> list[Status]:
        return [v.status for v in await group_commit.submit([event("t", event_id)], 1)]

    tasks = [asyncio.create_task(submit(event_id)) for event_id in ids]
    await asyncio.sleep(0)  # each of them has run up to its wait
    return tasks


async def held(
    group_commit: GroupCommit, store: ControlledStore, first: str, *ids: str
) -> list[asyncio.Task[list[Status]]]:
    """Requests of which the first one's append is held, and the others wait behind it."""
    store.hold()
    tasks = await waiting(group_commit, first)
    await store.begun()
    return tasks + await waiting(group_commit, *ids)


async def test_what_waits_is_stored_and_what_comes_is_refused(
    group_commit: GroupCommit, controlled: ControlledStore
) -> None:
    tasks = await held(group_commit, controlled, "a", "b")
    draining = asyncio.create_task(group_commit.drain(30))
    await asyncio.sleep(0)
    with pytest.raises(ShuttingDown):
        await group_commit.submit([event("t", "late")], 1)
    controlled.release()
    await draining
    assert [await task for task in tasks] == [[Status.STORED]] * 2
    assert set((await controlled.stats()).topics) == {"t"}
    assert (await controlled.stats()).topics["t"].received == 2


async def test_nothing_is_taken_any_more_once_told(group_commit: GroupCommit) -> None:
    group_commit.stop_accepting()
    with pytest.raises(ShuttingDown, match=r"^the aggregator is shutting down$"):
        await group_commit.submit([event("t", "a")], 1)


async def test_an_idle_drain_ends_and_may_be_repeated(group_commit: GroupCommit) -> None:
    await group_commit.submit([event("t", "a")], 1)
    await group_commit.drain(30)
    await group_commit.drain(30)


async def test_a_drain_before_the_start_ends(controlled: ControlledStore) -> None:
    group_commit = GroupCommit(
        controlled, max_flush_events=1, max_flush_bytes=1, on_flush=lambda _: None
    )
    await group_commit.drain(30)
    with pytest.raises(ShuttingDown):
        await group_commit.submit([event("t", "a")], 1)


async def test_out_of_time_everybody_is_told_and_what_was_under_way_is_unknown(
    group_commit: GroupCommit, controlled: ControlledStore, flushes: list[Flush]
) -> None:
    tasks = await held(group_commit, controlled, "under way", "next")
    await controlled.begun(2)
    tasks += await waiting(group_commit, "behind")
    await group_commit.drain(0.01)
    # It has ended when the drain has: nothing is told to anybody later.
    assert [type(flush.error) for flush in flushes] == [asyncio.CancelledError] * 2
    for with_store in tasks[:2]:
        with pytest.raises(
            OutcomeUnknown,
            match=r"^drain timeout exceeded while storing this; it may be stored or not$",
        ):
            await with_store
    with pytest.raises(ShuttingDown, match=r"^the aggregator shut down before this was stored$"):
        await tasks[2]


async def test_a_batch_that_is_cancelled_before_its_first_step_is_refused(
    controlled: ControlledStore,
) -> None:
    group_commit = GroupCommit(
        controlled, max_flush_events=1, max_flush_bytes=1, on_flush=lambda _: None
    )
    tasks = await waiting(group_commit, "a")
    group_commit.start()
    (flush,) = group_commit._with_store
    flush.cancel()
    with pytest.raises(ShuttingDown, match=r"^the aggregator shut down before this was stored$"):
        await tasks[0]
    await group_commit.drain(30)
    assert not controlled.batches


async def test_out_of_time_while_a_refused_batch_is_tried_apart_nobody_is_forgotten(
    controlled: ControlledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = asyncio.Event()

    async def refuse_together_and_hang_alone(batch: Sequence[Event]) -> list[Verdict]:
        if len(batch) > 1:
            raise BatchRefused("the database refused it")
        alone.set()
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(controlled, "append", refuse_together_and_hang_alone)
    group_commit = GroupCommit(
        controlled, max_flush_events=10, max_flush_bytes=10, on_flush=lambda _: None
    )
    tasks = await waiting(group_commit, "a", "b", "c")
    group_commit.start()
    await alone.wait()
    await group_commit.drain(0.01)
    _, pending = await asyncio.wait(tasks, timeout=10)
    for task in pending:
        task.cancel()
    assert not pending, "some would wait for ever"
    assert [repr(task.exception()) for task in tasks] == [
        repr(OutcomeUnknown("drain timeout exceeded while storing this; it may be stored or not")),
        repr(ShuttingDown("the aggregator shut down before storing this")),
        repr(ShuttingDown("the aggregator shut down before storing this")),
    ]

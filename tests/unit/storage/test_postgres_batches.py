"""Batches that the Postgres store is given at once, and texts that it can't pass on."""

import asyncio
from typing import Any, cast

import pytest
from support.events import event

from storage import postgres_ahead, postgres_writer
from storage.errors import BatchRefused
from storage.model import Event, Status
from storage.postgres import PostgresStore

BATCH = [event("t", name) for name in "abc"]


@pytest.fixture
def backend() -> str:
    return "postgres"


async def test_batches_are_stored_in_the_order_in_which_they_are_given(
    store: PostgresStore,
) -> None:
    for number in range(20):
        batches = [[event("t", f"{number}")] for _ in range(5)]
        outcomes = await asyncio.gather(*(store.append(batch) for batch in batches))
        statuses = [verdict.status for (verdict,) in outcomes]
        assert statuses == [Status.STORED] + [Status.DUPLICATE] * 4


async def test_a_batch_that_overtakes_the_one_before_on_its_way_waits_for_it(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append([event("t", "before")])
    send = postgres_ahead._Batch._store
    answers: list[bool] = []
    begun, overtaken = asyncio.Event(), asyncio.Event()

    async def send_late(self: Any, *arguments: Any) -> bool:
        if not begun.is_set():
            begun.set()
            async with asyncio.timeout(30):
                await overtaken.wait()
        answers.append(await send(self, *arguments))
        overtaken.set()
        return answers[-1]

    monkeypatch.setattr(postgres_ahead._Batch, "_store", send_late)
    outcomes = await asyncio.gather(*(store.append([event("t", "x")]) for _ in range(2)))
    assert answers == [False, True], "the second one was not the first to be sent"
    assert [verdict.status for (verdict,) in outcomes] == [Status.STORED, Status.DUPLICATE]


async def test_the_next_batch_may_begin_as_soon_as_the_topics_are_locked(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    committing = asyncio.Event()
    commit = postgres_writer._commit

    async def wait_and_commit(connection: Any) -> None:
        committing.set()
        async with asyncio.timeout(30):
            await other_is_stored.wait()
        await commit(connection)

    other_is_stored = asyncio.Event()
    with monkeypatch.context() as patched:
        patched.setattr(postgres_writer, "_commit", wait_and_commit)
        first = asyncio.create_task(store.append(BATCH))
        await committing.wait()
    await store.append([event("another topic", "x")])
    other_is_stored.set()
    assert len(await first) == len(BATCH)


@pytest.mark.parametrize(
    "strange",
    [
        event("t", "x\x1fy"),
        event("t\x1ft", "x"),
        event("t", "x", "{}\x1f{}"),
        event("t", "x", source="\x1f"),
        event("t", "x", source=cast("str", None)),
    ],
)
async def test_a_text_that_would_be_taken_apart_otherwise_is_refused(
    store: PostgresStore, strange: Event
) -> None:
    await store.append([event("t", "y")])
    for batch in ([strange], [event("t", "a"), strange, event("t", "b")]):
        with pytest.raises(BatchRefused):
            await store.append(batch)
    assert (await store.stats()).topics["t"].received == 1

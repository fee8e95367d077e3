"""Batches that the Postgres store is given at once, and texts that it can't pass on."""

import asyncio
from typing import Any, cast

import pytest
from support.events import event

from storage.errors import BatchRefused
from storage.model import Event, Status
from storage.postgres import locked_append as postgres_locked_append
from storage.postgres.commit import commit
from storage.postgres.store import PostgresStore

BATCH = [event("t", name) for name in "abc"]


@pytest.fixture
def backend() -> str:
    return "postgres"


async def test_of_batches_that_are_given_at_once_one_stores_and_the_others_are_duplicates(
    store: PostgresStore,
) -> None:
    for number in range(20):
        batches = [[event("t", f"{number}")] for _ in range(5)]
        outcomes = await asyncio.gather(*(store.append(batch) for batch in batches))
        # Mostly the first, but a statement may be overtaken on its way to the server.
        statuses = sorted(verdict.status for (verdict,), _ in outcomes)
        assert statuses == [Status.DUPLICATE] * 4 + [Status.STORED]
        assert {verdict.offset for (verdict,), _ in outcomes} == {number + 1}


async def test_the_next_batch_may_begin_as_soon_as_the_topics_are_locked(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    committing = asyncio.Event()

    async def wait_and_commit(connection: Any) -> None:
        committing.set()
        async with asyncio.timeout(30):
            await other_is_stored.wait()
        await commit(connection)

    other_is_stored = asyncio.Event()
    with monkeypatch.context() as patched:
        patched.setattr(postgres_locked_append, "commit", wait_and_commit)
        first = asyncio.create_task(store.append(BATCH))
        await committing.wait()
    await store.append([event("another topic", "x")])
    other_is_stored.set()
    assert len((await first).verdicts) == len(BATCH)


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

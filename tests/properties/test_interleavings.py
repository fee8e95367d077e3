"""However the statements of several stores interleave, it is as if the batches went in turn."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import Database
from support.interleaving import Interleaving, State
from support.observer import Observer
from support.reference import Reference

from storage.errors import StorageError
from storage.model import Appended, Event
from storage.postgres import appender
from storage.protocols import EventStore

_STORES = 3

_EVENTS = st.builds(
    Event,
    topic=st.sampled_from(["a", "b"]),
    event_id=st.sampled_from(["1", "2", "3", "4"]),
    timestamp_us=st.just(0),
    source=st.just("shop"),
    payload=st.sampled_from(["{}", '{"n":1}', '{"n":1.0}']),
)
_BATCHES = st.lists(_EVENTS, min_size=1, max_size=5)
_PUBLISHERS = st.lists(st.lists(_BATCHES, min_size=1, max_size=2), min_size=2, max_size=_STORES)
_ORDER = st.lists(st.integers(0, _STORES - 1), max_size=40)


class Rig:
    """The stores and the observer, opened once for all examples."""

    def __init__(
        self, database: Database, stores: Sequence[EventStore], observer: Observer, optimistic: bool
    ) -> None:
        self.database = database
        self.stores = stores
        self.observer = observer
        self.optimistic = optimistic

    async def interleave(self, publishers: list[list[list[Event]]], order: list[int]) -> None:
        """Step the publishers in this order (then to the end), looking after every step."""
        await self.observer.empty()
        reference = Reference()
        expected: dict[str, list[object]] = {str(number): [] for number in range(len(publishers))}
        async with Interleaving(self.database, optimistic=self.optimistic) as run:
            for number, batches in enumerate(publishers):
                await run.start(str(number), self.stores[number], *batches)
            picks = iter(order)
            storing: set[str] = set()

            def commit(name: str) -> None:
                batch = publishers[int(name)][len(expected[name])]
                expected[name].append(reference.publish(batch))

            while ready := run.names(State.STOPPED):
                name = ready[next(picks, 0) % len(ready)]
                statement = run.statement(name)
                if statement == "COMMIT":
                    commit(name)
                await run.step(name)
                if statement == "STORE_IF_UNCHANGED":
                    storing.add(name)
                # It may have waited for another one's COMMIT, and been in vain. Whoever is blocked
                # now and has its outcome waits for its next batch's turn.
                for each in sorted(storing):
                    committed = len(run.outcomes(each)) > len(expected[each])
                    if committed:
                        commit(each)
                    if committed or each not in run.names(State.BLOCKED):
                        storing.remove(each)
                snapshot = await self.observer.snapshot()
                snapshot.assert_sound()
                assert snapshot.counts == reference.counts()
            assert run.names(State.BLOCKED) == []
            for name, verdicts in expected.items():
                assert [_told(outcome) for outcome in run.outcomes(name)] == verdicts
        rows = [(r.topic, r.offset, r.event_id, 0, r.source, r.payload) for r in snapshot.rows]
        assert rows == reference.rows()


def _told(outcome: object) -> object:
    if isinstance(outcome, StorageError):
        return outcome
    assert isinstance(outcome, Appended)
    return [(v.topic, v.event_id, v.status.value, v.offset) for v in outcome.verdicts]


async def _open(database: Database, stack: AsyncExitStack, optimistic: bool) -> Rig:
    stores = [database.in_process_store(readers=1) for _ in range(_STORES)]
    for store in stores:
        stack.push_async_callback(store.aclose)
        await store.open()
    if optimistic:
        # Two batches of one store, so that one is decided on what the other will leave.
        stores[1] = stores[0]
    observer = await stack.enter_async_context(Observer.on(database))
    return Rig(database, stores, observer, optimistic)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("backend", "optimistic"), [("sqlite", False), ("postgres", False), ("postgres", True)]
)
def test_any_interleaving_of_statements_equals_the_batches_one_after_the_other(
    database: Database, optimistic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appender, "BACKOFF_BATCHES", 0)
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        rig = runner.run(_open(database, stack, optimistic))

        @settings(max_examples=settings().max_examples // 2)
        @given(publishers=_PUBLISHERS, order=_ORDER)
        def holds(publishers: list[list[list[Event]]], order: list[int]) -> None:
            runner.run(rig.interleave(publishers, order))

        try:
            holds()
        finally:
            runner.run(stack.aclose())

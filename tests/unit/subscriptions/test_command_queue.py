"""The queue of commands: who shares a transaction, and who is told what."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from aggregator.ingest.admission import QueueFull
from aggregator.ingest.group_commit import ShuttingDown
from aggregator.subscriptions import command_queue as module
from aggregator.subscriptions.command_queue import CommandQueue
from aggregator.subscriptions.counters import SubscriptionCounters
from storage.errors import BatchRefused, OutcomeUnknown, StorageError, StorageUnavailable
from storage.protocols import SubscriptionStore
from storage.subscriptions.commands import Command, Delete, Lease
from storage.subscriptions.outcomes import Done, Outcome


class Store:
    """A store whose transactions of commands wait at a gate, and end as a test says."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.errors: dict[str, Exception] = {}

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        names = [lease_of(each) for each in commands]
        self.batches.append(names)
        await self.gate.wait()
        for name in names:
            if name in self.errors:
                raise self.errors[name]
        return [Done() for _ in commands]


class Observed:
    """What a queue has told of."""

    def __init__(self) -> None:
        self.suspected: list[StorageError] = []
        self.done: list[list[str]] = []
        self.counters = SubscriptionCounters()

    def queue(self, store: Store) -> CommandQueue:
        return CommandQueue(
            cast("SubscriptionStore", store),
            suspect=self.suspected.append,
            observe=lambda commands, _outcomes: self.done.append([*map(lease_of, commands)]),
            counters=self.counters,
        )


def lease(name: str) -> Lease:
    return Lease(name="s", lease=name, max_events=1, topics=())


def lease_of(command: Command) -> str:
    return command.lease if isinstance(command, Lease) else "delete"


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.fixture
async def store() -> Store:
    return Store()


async def test_commands_that_come_together_share_a_transaction(
    store: Store, observed: Observed
) -> None:
    queue = observed.queue(store)
    outcomes = [queue.submit(lease(name)) for name in "abc"]
    assert await asyncio.gather(*outcomes) == [Done()] * 3
    assert store.batches == [["a", "b", "c"]]
    assert observed.done == [["a", "b", "c"]]
    assert observed.counters.flushes == 1
    assert observed.counters.commands_waiting == 0


async def test_what_comes_while_one_is_under_way_goes_together_in_the_next(
    store: Store, observed: Observed
) -> None:
    queue = observed.queue(store)
    store.gate.clear()
    first = queue.submit(lease("a"))
    await turns()
    others = [queue.submit(lease(name)) for name in "bc"]
    await turns()
    assert store.batches == [["a"]]
    assert observed.counters.commands_waiting == 3
    store.gate.set()
    await asyncio.gather(first, *others)
    assert store.batches == [["a"], ["b", "c"]]


async def test_what_is_no_consumers_has_a_transaction_of_its_own_in_its_turn(
    store: Store, observed: Observed
) -> None:
    queue = observed.queue(store)
    commands: list[Command] = [lease("a"), Delete("s"), lease("b"), lease("c"), Delete("s")]
    await asyncio.gather(*map(queue.submit, commands))
    assert store.batches == [["a"], ["delete"], ["b", "c"], ["delete"]]


async def test_transactions_are_bounded(
    store: Store, observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_COMMANDS", 2)
    queue = observed.queue(store)
    await asyncio.gather(*(queue.submit(lease(name)) for name in "abcde"))
    assert store.batches == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_refused_batch_is_done_one_by_one(store: Store, observed: Observed) -> None:
    queue = observed.queue(store)
    store.errors["b"] = BatchRefused("the database refused it")
    a, b, c = (queue.submit(lease(name)) for name in "abc")
    assert await a == Done()
    with pytest.raises(BatchRefused):
        await b
    assert await c == Done()
    assert store.batches == [["a", "b", "c"], ["a"], ["b"], ["c"]]
    assert observed.counters.commands_waiting == 0
    assert observed.suspected == []


@pytest.mark.parametrize("error", [StorageUnavailable("gone"), OutcomeUnknown("perhaps")])
async def test_a_batch_that_fails_is_told_to_all_and_not_tried_again(
    store: Store, observed: Observed, error: StorageError
) -> None:
    queue = observed.queue(store)
    store.errors["b"] = error
    outcomes = [queue.submit(lease(name)) for name in "ab"]
    for outcome in outcomes:
        with pytest.raises(type(error), match=str(error)):
            await outcome
    assert store.batches == [["a", "b"]]
    assert observed.suspected == [error]
    assert observed.counters.flushes_failed == 1
    assert await queue.submit(lease("c")) == Done()


async def test_an_unforeseen_failure_has_an_unknown_outcome_and_keeps_its_words(
    store: Store, observed: Observed
) -> None:
    queue = observed.queue(store)
    store.errors["a"] = RuntimeError("SECRET")
    with pytest.raises(OutcomeUnknown) as raised:
        await queue.submit(lease("a"))
    assert "SECRET" not in str(raised.value)
    assert await queue.submit(lease("b")) == Done()


async def test_so_many_wait_and_no_more(
    store: Store, observed: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING", 2)
    queue = observed.queue(store)
    store.gate.clear()
    waiting = [queue.submit(lease("a"))]
    await turns()
    waiting += [queue.submit(lease(name)) for name in "bc"]
    with pytest.raises(QueueFull, match="2 commands"):
        queue.submit(lease("d"))
    store.gate.set()
    await asyncio.gather(*waiting)


async def test_a_drain_does_what_waits_and_accepts_no_more(
    store: Store, observed: Observed
) -> None:
    queue = observed.queue(store)
    store.gate.clear()
    first = queue.submit(lease("a"))
    await turns()
    second = queue.submit(lease("b"))
    draining = asyncio.create_task(queue.drain(30))
    await turns()
    with pytest.raises(ShuttingDown):
        queue.submit(lease("c"))
    store.gate.set()
    await draining
    assert (await first, await second) == (Done(), Done())


async def test_what_is_under_way_when_the_time_is_over_has_an_unknown_outcome(
    store: Store, observed: Observed
) -> None:
    queue = observed.queue(store)
    store.gate.clear()
    first = queue.submit(lease("a"))
    await turns()
    second = queue.submit(lease("b"))
    await queue.drain(0)
    with pytest.raises(OutcomeUnknown, match="drain"):
        await first
    with pytest.raises(ShuttingDown, match="before"):
        await second
    assert observed.counters.commands_waiting == 0


async def test_who_gives_up_takes_nothing_back(store: Store, observed: Observed) -> None:
    queue = observed.queue(store)
    store.gate.clear()
    first, second = queue.submit(lease("a")), queue.submit(lease("b"))
    await turns()
    first.cancel()
    store.gate.set()
    assert await second == Done()
    assert observed.done == [["a", "b"]]


async def test_what_is_handed_back_behind_the_drain_is_still_done(
    store: Store, observed: Observed
) -> None:
    queue = observed.queue(store)
    await queue.drain(30)
    with pytest.raises(ShuttingDown):
        queue.submit(lease("a"))
    late = queue.submit(lease("b"), late=True)
    await queue.aclose()
    assert await late == Done()
    with pytest.raises(ShuttingDown):
        queue.submit(lease("c"), late=True)

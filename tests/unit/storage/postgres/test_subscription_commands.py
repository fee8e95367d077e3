"""Commands of subscriptions on Postgres: decided ahead of the lock, by several stores at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from support.backends import Database
from support.commanding import acknowledgement, creation, fill, lease, one, views
from support.observer import Observer

from storage.postgres import subscriptions
from storage.postgres.session import begin
from storage.postgres.store import PostgresStore
from storage.postgres.subscription_loading import load
from storage.subscriptions.commands import Command, Delete, Pause
from storage.subscriptions.model import Order
from storage.subscriptions.outcomes import Done, Kept, Leased, Refusal, Settled

_LIMIT_S = 30.0


@pytest.fixture
def backend() -> str:
    return "postgres"


@pytest.fixture
async def other(database: Database, store: PostgresStore) -> AsyncIterator[PostgresStore]:
    """A second store on the database, as another aggregator has it."""
    other = PostgresStore(database.dsn)
    await other.open()
    yield other
    await other.aclose()


def before_writing(
    monkeypatch: pytest.MonkeyPatch, do: Callable[[int], Awaitable[object]]
) -> list[int]:
    """Do something whenever commands are decided, before they are written; `do` gets the number.

    Returns:
        The numbers so far. What is done meanwhile is left alone.
    """
    times: list[int] = []
    is_busy = False

    async def loaded(*arguments: Any) -> Any:
        nonlocal is_busy
        read = await load(*arguments)
        if not is_busy:
            times.append(len(times) + 1)
            is_busy = True
            await do(times[-1])
            is_busy = False
        return read

    monkeypatch.setattr(subscriptions, "load", loaded)
    return times


def locked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The transactions that lock first, from now on."""
    seen: list[str] = []

    async def begun(connection: Any, transaction: str) -> None:
        seen.append(transaction)
        await begin(connection, transaction)

    monkeypatch.setattr(subscriptions, "begin", begun)
    return seen


def handed_out(leased: object) -> list[int]:
    assert isinstance(leased, Leased)
    return [n for each in leased.granted for n in range(each.first, each.last + 1)]


async def rows(database: Database, sql: str) -> Sequence[Any]:
    async with Observer.on(database) as observer:
        return [tuple(row) for row in await observer.fetch(sql)]


async def test_leases_and_settles_of_one_store_never_lock_first(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    await one(store, creation())
    seen = locked(monkeypatch)
    taken = lease(most=4)
    leased = await one(store, taken)
    assert handed_out(leased) == [1, 2, 3, 4]
    settled = await one(store, acknowledgement(taken, leased, b"d"))
    again = await one(store, acknowledgement(taken, leased, b"d"))
    assert isinstance(settled, Settled)
    assert isinstance(again, Settled)
    assert (settled.acknowledged, settled.expires_us) == (again.acknowledged, again.expires_us)
    assert not seen
    view = (await views(store))["t"]
    assert (view.head, view.state.place, view.state.acknowledged) == (10, 4, 4)


async def test_commands_of_several_subscriptions_are_done_in_their_order_in_one_transaction(
    database: Database, store: PostgresStore
) -> None:
    await fill(store)
    for name in "ba":
        await one(store, creation(name))
    first, second, none = lease(name="b"), lease(name="a"), lease(name="c")
    in_b, in_c, in_a = await store.apply([first, none, second])
    assert isinstance(in_c, Refusal)
    after = lease(name="b")
    settled, leased, *_ = await store.apply(
        [acknowledgement(first, in_b), after, acknowledgement(second, in_a)]
    )
    assert isinstance(settled, Settled)
    assert handed_out(leased) == []
    # They share the transaction that wrote them.
    assert len(await rows(database, "SELECT DISTINCT xmin::text FROM subscription_topics")) == 1


async def test_what_was_overtaken_is_decided_anew(
    store: PostgresStore, other: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where it is again and again, the subscription is locked first."""
    await fill(store, number=20)
    await one(store, creation(order=Order.NONE))
    taken: list[int] = []

    async def overtake(_time: int) -> None:
        if not seen:
            taken.extend(handed_out(await one(other, lease(most=2))))

    seen = locked(monkeypatch)
    times = before_writing(monkeypatch, overtake)
    leased = handed_out(await one(store, lease(most=2)))
    assert len(times) == 4
    assert len(seen) == 1
    assert taken == [1, 2, 3, 4, 5, 6]
    assert leased == [7, 8]


async def test_a_settle_of_a_lease_that_others_got_meanwhile_is_refused(
    store: PostgresStore, other: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was open when it was read; what counts is who commits first."""
    await fill(store)
    await one(store, creation())
    taken = lease()
    leased = await one(store, taken)

    async def lose(time: int) -> None:
        if time > 1:
            return
        # As if the clock had gone on: for the other store the lease has run out.
        with monkeypatch.context() as patched:

            async def later(*arguments: Any) -> Any:
                read = await load(*arguments)
                read.loaded.now_us += 40 * 10**6
                return read

            patched.setattr(subscriptions, "load", later)
            assert handed_out(await one(other, lease(most=1))) == [1]

    before_writing(monkeypatch, lose)
    settled = await one(store, acknowledgement(taken, leased, b"d"))
    assert isinstance(settled, Refusal)
    assert settled.reason == "lease_lost"
    assert (await views(store))["t"].state.acknowledged == 0


@pytest.mark.parametrize("order", Order)
async def test_two_stores_hand_out_and_settle_every_event_once(
    store: PostgresStore, other: PostgresStore, order: Order
) -> None:
    number = 150
    await fill(store, number=number)
    await one(store, creation(order=order))
    acknowledged: Counter[int] = Counter()

    async def consume(through: PostgresStore) -> None:
        while acknowledged.total() < number:
            taken = lease(most=7)
            leased = await one(through, taken)
            if not (got := handed_out(leased)):
                await asyncio.sleep(0)
                continue
            settled = await one(through, acknowledgement(taken, leased, b"d"))
            assert isinstance(settled, Settled), settled
            acknowledged.update(got)

    async with asyncio.timeout(_LIMIT_S), asyncio.TaskGroup() as tasks:
        for through in (store, other, store, other):
            tasks.create_task(consume(through))
    assert acknowledged == dict.fromkeys(range(1, number + 1), 1)
    state = (await views(store))["t"].state
    assert (state.acknowledged, state.place, state.redelivered) == (number, number, 0)


async def test_of_two_that_make_a_name_at_once_the_second_finds_that_of_the_first(
    store: PostgresStore, other: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    first, second = creation(), creation()

    async def overtake(time: int) -> None:
        if time == 1:
            assert await one(other, first) == Kept(first.subscription, made=True)

    before_writing(monkeypatch, overtake)
    assert await one(store, second) == Kept(first.subscription)
    assert await store.subscription("s") == first.subscription


async def test_a_subscription_that_was_made_anew_is_another(
    database: Database, store: PostgresStore, other: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    await one(store, creation())
    taken = lease()
    leased = await one(store, taken)

    async def replace(time: int) -> None:
        if time == 1:
            assert await one(other, Delete("s")) == Done()
            await one(other, creation())

    before_writing(monkeypatch, replace)
    settled = await one(store, acknowledgement(taken, leased, b"d"))
    assert isinstance(settled, Refusal)
    assert settled.reason == "lease_lost"
    for table in ("subscription_topics", "subscription_failures", "subscription_settles"):
        assert not await rows(database, f"SELECT FROM {table}")


@pytest.mark.parametrize("command", [Pause("s", "for a while"), Delete("s")])
async def test_nothing_is_handed_out_once_a_subscription_is_paused_or_deleted(
    database: Database,
    store: PostgresStore,
    other: PostgresStore,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> None:
    await fill(store)
    await one(store, creation())

    async def stop(time: int) -> None:
        if time == 1:
            await one(other, command)

    before_writing(monkeypatch, stop)
    outcome = await one(store, lease())
    assert isinstance(outcome, Refusal) or handed_out(outcome) == []
    assert not await rows(database, "SELECT FROM subscription_topics")


async def test_no_more_than_the_limit_is_leased_from_two_sets_of_topics_at_once(
    store: PostgresStore, other: PostgresStore
) -> None:
    """What all other topics have leased is summed up under the lock."""
    names = [f"t-{n}" for n in range(8)]
    for name in names:
        await fill(store, name, 5)
    await one(store, creation(topics=tuple(names), max_leased=12))
    leases = [lease([name], all_topics=False) for name in names]
    leased = await asyncio.gather(
        *(one(through, each) for through, each in zip([store, other] * 4, leases, strict=True))
    )
    assert sum(len(handed_out(each)) for each in leased) == 12

"""Consumers that wait: what gives them something wakes them, wherever it was done."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.backends import Database
from support.consuming import Consuming, consuming, given, offsets
from support.stores import until

from aggregator.access.gate import EVERYBODY
from aggregator.subscriptions import known as module
from aggregator.wire.subscription_answers import LeaseAnswer
from storage.protocols import EventStore
from storage.subscriptions.commands import Command, Death, Lease, Settle
from storage.subscriptions.model import OnDead, Order, SubscriptionSettings
from storage.subscriptions.outcomes import Outcome

LONG_MS = 60_000
"""Longer than a test may take: what waits so long is answered for another reason."""


@pytest.fixture
async def here(store: EventStore) -> AsyncIterator[Consuming]:
    async with consuming(store) as made:
        yield made


@pytest.fixture
async def elsewhere(database: Database) -> AsyncIterator[Consuming]:
    """The same through another aggregator, which tells this one nothing."""
    store = database.store()
    await store.open()
    async with consuming(store) as made:
        yield made
    await store.aclose()


def waiting(service: Consuming, name: str = "s") -> "asyncio.Task[LeaseAnswer]":
    return asyncio.create_task(service.lease(wait_ms=LONG_MS, name=name))


async def asleep(service: Consuming, name: str = "s") -> None:
    def sleeps() -> bool:
        found = service.parts.poller.known.get(name)
        return found is not None and len(found.sleepers) == 1

    await until(sleeps, "a consumer waits")


async def test_a_topic_of_which_nothing_is_kept_is_noticed_when_another_resumes(
    here: Consuming, elsewhere: Consuming
) -> None:
    await here.publish("t", 3)
    await here.make("t")
    await here.service.pause("s")
    task = waiting(here)
    await asleep(here)
    await elsewhere.service.resume("s")
    assert offsets(await asyncio.wait_for(task, 30)) == [1, 2, 3]


async def test_room_that_another_makes_for_a_topic_of_which_nothing_is_kept_is_noticed(
    here: Consuming, elsewhere: Consuming
) -> None:
    await here.publish("u", 1)
    await here.make("u", "v", max_leased=1)
    held = await elsewhere.lease()
    task = waiting(here)
    await asleep(here)
    await elsewhere.publish("v", 1)
    await elsewhere.settle(held)
    assert given(await asyncio.wait_for(task, 30)) == [("v", 1, 1)]


async def test_events_and_settles_of_another_are_noticed(
    here: Consuming, elsewhere: Consuming
) -> None:
    await here.publish("t", 1)
    await here.make("t")
    await here.settle(await here.lease())
    task = waiting(here)
    await asleep(here)
    await elsewhere.publish("t", 1, first=1)
    first = await asyncio.wait_for(task, 30)
    assert offsets(first) == [2]
    await elsewhere.publish("t", 1, first=2)
    task = waiting(elsewhere)
    await asleep(elsewhere)
    await here.settle(first)
    assert offsets(await asyncio.wait_for(task, 30)) == [3]


async def test_what_another_does_is_noticed_when_the_poll_ended_while_who_waits_was_asking(
    here: Consuming, elsewhere: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.publish("t", 1)
    await here.make("t")
    held = await here.lease()
    task = waiting(here)
    await asleep(here)
    submit, has_asked = here.parts.queue.submit, asyncio.Event()

    async def submit_slowly(command: Command) -> Outcome:
        if isinstance(command, Lease):
            await until(lambda: not here.parts.poller.running, "nobody sleeps, so it ends")
            has_asked.set()
        return await submit(command)

    monkeypatch.setattr(here.parts.queue, "submit", submit_slowly)
    # It is woken, and there is nothing for it.
    await here.settle(held)
    await has_asked.wait()
    await asleep(here)
    await elsewhere.publish("t", 1, first=1)
    assert offsets(await asyncio.wait_for(task, 30)) == [2]


async def test_without_the_poll_what_another_does_is_not_noticed(
    here: Consuming, elsewhere: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here.parts.poller, "start", lambda: None)
    here.parts.poller.known.on_waited_for = lambda: None
    await here.make("t")
    task = waiting(here)
    await asleep(here)
    await elsewhere.publish("t", 1)
    # The other one has it, and would answer at once.
    assert [topic for _, topic in await elsewhere.store.ready_topics([await id_of(here)], 9)] == [
        "t"
    ]
    for _ in range(50):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def id_of(service: Consuming) -> str:
    found = await service.store.subscription("s")
    assert found is not None
    return found.id


async def test_an_ack_makes_room_for_who_waits(
    here: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.parts.poller.known.on_waited_for = lambda: None
    await here.publish("t", 4)
    await here.make("t", order=Order.NONE, max_leased=2)
    held = await here.lease()
    task = waiting(here)
    await asleep(here)
    await here.settle(held)
    assert offsets(await asyncio.wait_for(task, 30)) == [3, 4]


async def test_who_waits_is_woken_however_many_subscriptions_are_in_use(
    here: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_KNOWN", 2)
    here.parts.poller.known.on_waited_for = lambda: None
    names = [f"s{n}" for n in range(6)]
    for name in names:
        await here.make("t", name=name)
    tasks = [waiting(here, name) for name in names]
    for name in names:
        await asleep(here, name)
    await here.publish("t", 1)
    for task in tasks:
        assert offsets(await asyncio.wait_for(task, 30)) == [1]


async def test_among_very_many_topics_those_that_have_something_are_found(
    here: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CANDIDATES", 2)
    monkeypatch.setattr(module, "_MAX_READY", 4)
    stopped = [f"a{n}" for n in range(8)]
    for topic in stopped:
        await here.publish(topic, 2)
    await here.make("**", on_dead=OnDead.PAUSE, stop_after_dead=None)
    while (answer := await here.lease(1)).token is not None:
        ((topic, offset, _),) = given(answer)
        await bury(here, answer, topic, offset)
    await here.publish("b", 3)
    found = here.parts.poller.known.get("s")
    assert found is not None
    await found.look(here.store)
    assert given(await here.lease()) == [("b", 1, 1), ("b", 2, 1), ("b", 3, 1)]


async def bury(service: Consuming, answer: LeaseAnswer, topic: str, offset: int) -> None:
    """Make an event of a lease a dead letter."""
    assert answer.token is not None
    command = Settle(name="s", token=answer.token, dead=[Death(topic, offset)])
    await service.parts.queue.submit(command)


async def test_what_is_trimmed_is_all_behind_what_was_read(
    here: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    for topic in "ab":
        await here.publish(topic, 5, payload='{"a":"' + 400 * "x" + '"}')
    await here.make("a", "b", order=Order.NONE, backoff_ms=(0,))
    first = await here.lease()
    assert first.token is not None
    await here.service.released("s", first.token)
    for topic in "ab":
        await here.publish(topic, 5, payload='{"a":"' + 400 * "x" + '"}', first=5)
    monkeypatch.setattr("aggregator.subscriptions.delivery_reads.LEASE_BYTES", 7000)
    monkeypatch.setattr("aggregator.subscriptions.leases.LEASE_BYTES", 70_000)
    answer = await here.lease()
    status = await here.service.status("s", "")
    assert 10 < len(given(answer)) < 20
    assert status.totals.leased == len(given(answer))


async def test_a_subscription_made_beside_a_delete_begins_where_it_says(
    here: Consuming, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.publish("t", 5)
    settings = SubscriptionSettings(topics=("t",))
    for _ in range(20):
        await here.service.put("s", settings, EVERYBODY.entry)
        made, _ = await asyncio.gather(
            here.service.put("s", settings, EVERYBODY.entry),
            here.service.delete("s"),
            return_exceptions=True,
        )
        if made is True:
            status = await here.service.status("s", "")
            assert (status.totals.start, status.totals.waiting) == (5, 0)

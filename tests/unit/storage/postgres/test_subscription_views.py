"""Looks at subscriptions on Postgres, what is kept of failures, and what is forgotten."""

import asyncio
import uuid
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from support.backends import Database
from support.commanding import acknowledgement, creation, fill, lease, one, token, views
from support.events import event
from support.observer import Observer

from storage.postgres.store import PostgresStore
from storage.subscriptions.commands import (
    Change,
    Death,
    Delete,
    DropDead,
    Pause,
    Retry,
    RetryDead,
    Seek,
    Settle,
)
from storage.subscriptions.model import OnDead, Subscription, TopicState, TopicView
from storage.subscriptions.outcomes import Done, Kept, Leased, Retried, Settled, Sought


@pytest.fixture
def backend() -> str:
    return "postgres"


async def made(store: PostgresStore, name: str = "s", **settings: object) -> Subscription:
    kept = await one(store, creation(name, **settings))
    assert isinstance(kept, Kept)
    return kept.subscription


async def change(database: Database, sql: str) -> None:
    async with Observer.on(database) as observer:
        await observer.fetch(sql)


async def test_topics_are_seen_by_name_in_byte_order_some_at_a_time(store: PostgresStore) -> None:
    many = [f"p.{number}" for number in range(2500)]
    names = ["P", "a", "p", "p-", "p.x.y", "q", "z", *many]
    await store.append([event(name, "e") for name in names])
    selected = ("z", "a", "missing", "p.*", "p-", "p.7", "P")
    await made(store, topics=selected)
    pages: list[Sequence[TopicView]] = []
    seen = await store.view_topics("s", pages.append)
    assert seen is not None
    assert seen.subscription.settings.topics == selected
    assert [view.topic for page in pages for view in page] == sorted([*many, "P", "a", "p-", "z"])
    assert all(0 < len(page) <= 1000 for page in pages)
    assert {(view.head, view.state) for page in pages for view in page} == {(1, TopicState())}
    assert all(0 < (view.oldest_us or 0) <= seen.now_us for page in pages for view in page)
    assert await store.view_topics("none", pages.append) is None


async def test_the_oldest_is_the_event_behind_the_place(store: PostgresStore) -> None:
    times = []
    for number in range(3):
        await store.append([event("t", f"{number}")])
    await made(store)
    for _ in range(3):
        times.append((await views(store))["t"].oldest_us or 0)
        taken = lease(most=1)
        leased = await one(store, taken)
        assert isinstance(leased, Leased)
        assert leased.oldest_us == times[-1]
        await one(store, acknowledgement(taken, leased))
    assert times == sorted(times)
    assert (await views(store))["t"].oldest_us is None


async def test_subscriptions_are_listed_by_name_in_byte_order(store: PostgresStore) -> None:
    kept = [await made(store, name) for name in ("b", "B", "a.b", "a")]
    assert await store.subscriptions(limit=3) == [kept[1], kept[3], kept[2]]
    assert await store.subscriptions(after="a.b", limit=3) == [kept[0]]
    assert await store.subscription("a.b") == kept[2]
    assert await store.subscription("c") is None


async def test_ready_topics_are_those_with_something_to_hand_out(
    database: Database, store: PostgresStore
) -> None:
    subscription = await made(store, topics=("t", "u"))
    ids = [subscription.id, str(uuid.uuid4())]
    await fill(store, "t", 2)
    await fill(store, "u", 2)
    taken = lease(["t", "u"], most=3)
    leased = await one(store, taken)
    # All of it is leased, or waits for what is.
    assert await store.ready_topics(ids, 10) == []
    await change(database, "UPDATE subscription_topics SET due_at = now() WHERE topic = 't'")
    assert await store.ready_topics(ids, 10) == [(subscription.id, "t")]
    await one(store, acknowledgement(taken, leased))
    assert await store.ready_topics(ids, 10) == [(subscription.id, "u")]
    await fill(store, "t", 3)
    assert sorted(await store.ready_topics(ids, 10)) == [(ids[0], "t"), (ids[0], "u")]
    assert len(await store.ready_topics(ids, 1)) == 1
    assert await store.ready_topics(ids[1:], 10) == []
    await one(store, Pause("s", "for a while"))
    assert await store.ready_topics(ids, 10) == []


async def test_dead_letters_keep_their_errors_whatever_characters_they_have(
    store: PostgresStore,
) -> None:
    subscription = await made(store, max_deliveries=3, backoff_ms=(0,))
    await fill(store)
    odd = 'a "\x00", a \x1f, a \\ and a \U0001f98a'
    taken = lease()
    shown = token(taken, await one(store, taken))
    await one(store, Settle(name="s", token=shown, retry=[Retry("t", 1, error=odd)]))
    assert await store.dead_letters(subscription.id, limit=10) == []
    taken = lease()
    shown = token(taken, await one(store, taken))
    dead = [Death("t", 1, "last"), Death("t", 2, odd), Death("t", 3)]
    settled = await one(store, Settle(name="s", token=shown, dead=dead))
    assert isinstance(settled, Settled)
    assert settled.dead == 3
    letters = await store.dead_letters(subscription.id, limit=10)
    assert [(each.offset, each.first_error, each.last_error) for each in letters] == [
        (1, odd, "last"),
        (2, odd, odd),
        (3, None, None),
    ]
    assert [each.deliveries for each in letters] == [2, 1, 1]
    assert letters[0].first_failed_us < letters[1].first_failed_us == letters[1].dead_us
    assert await store.dead_letters(subscription.id, after=("t", 1), limit=1) == letters[1:2]
    # Two of them wait again, by offset; the third is acknowledged.
    assert await one(store, RetryDead("s", [("t", 1, 3)], limit=2)) == Retried(2, 1)
    assert await one(store, RetryDead("s", [("u", 1, 3)])) == Retried(0, 0)
    assert await store.dead_letters(subscription.id, limit=10) == letters[2:]
    assert await one(store, DropDead("s", "t", 3)) == Done()
    assert await store.dead_letters(subscription.id, limit=10) == []
    state = (await views(store))["t"].state
    assert (state.dead, state.acknowledged, state.unsettled) == (0, 1, 9)


async def test_what_depends_on_the_settings_changes_with_them(
    database: Database, store: PostgresStore
) -> None:
    subscription = await made(store, topics=("t", "u"))
    await fill(store, "t", 2)
    await fill(store, "u", 2)
    taken = lease(["t"], most=1)
    shown = token(taken, await one(store, taken))
    await one(store, Settle(name="s", token=shown, dead=[Death("t", 1)]))
    t, u = (subscription.id, "t"), (subscription.id, "u")
    # Of the other nothing is kept yet.
    assert await store.ready_topics([subscription.id], 10) == [t, u]
    await one(store, Change(name="s", on_dead=OnDead.PAUSE))
    assert await store.ready_topics([subscription.id], 10) == [u]
    kept = await one(store, Change(name="s", on_dead=OnDead.CONTINUE))
    assert isinstance(kept, Kept)
    assert kept.subscription == await store.subscription("s")
    assert await store.ready_topics([subscription.id], 10) == [t, u]
    assert await one(store, Seek("s", {"t": 0, "u": 2}, dry_run=False)) == Sought(1, 2)
    assert await store.dead_letters(subscription.id, limit=10) == []
    await one(store, Change(name="s", topics=("v",)))
    for table in ("topics", "failures"):
        async with Observer.on(database) as observer:
            assert not await observer.fetch(f"SELECT FROM subscription_{table}")
    assert await one(store, Delete("s")) == Done()
    assert await store.subscription("s") is None


async def test_a_row_that_comes_back_is_not_taken_for_the_former(
    database: Database, store: PostgresStore
) -> None:
    await made(store)
    await fill(store)
    await one(store, lease())
    async with Observer.on(database) as observer:
        sql = "SELECT revision FROM {} ORDER BY revision"
        before = [
            await observer.fetch(sql.format(f"subscription{each}")) for each in ("s", "_topics")
        ]
        await one(store, Change(name="s", topics=("u",)))
        await one(store, Change(name="s", topics=("t",), heads={"t": 0}))
        await one(store, lease())
        after = [
            await observer.fetch(sql.format(f"subscription{each}")) for each in ("s", "_topics")
        ]
    for ((former,),), ((revision,),) in zip(before, after, strict=True):
        assert revision > former


async def test_settles_are_forgotten_but_those_of_the_last_lease_of_each_consumer(
    database: Database, store: PostgresStore
) -> None:
    await made(store)
    await fill(store, number=20)
    leases = {}
    for number, consumer in enumerate("aab"):
        taken = lease(most=2)
        leased = await one(store, taken)
        shown = replace(token(taken, leased), consumer=consumer)
        (topic, first, last) = shown.extents[0]
        for offset in (first, last):
            settle = Settle(
                name="s", token=shown, ack=[(topic, offset, offset)], digest=b"%d" % offset
            )
            assert isinstance(await one(store, settle), Settled)
        leases[taken.lease] = number

    async def kept() -> list[tuple[int, bool]]:
        async with Observer.on(database) as observer:
            found = await observer.fetch("SELECT lease, ended FROM subscription_settles")
        return sorted((leases[each], ended) for each, ended in found)

    def of(*numbers: int) -> list[tuple[int, bool]]:
        return [(number, ended) for number in numbers for ended in (False, True)]

    assert await kept() == of(0, 1, 2)
    assert await store.forget_settles(1) is True
    # The settle that ended a lease is the last of it.
    assert await kept() == [(0, True), *of(1, 2)]
    assert await asyncio.gather(*(store.forget_settles(10) for _ in "ab")) == [False] * 2
    assert await kept() == of(1, 2)
    await change(
        database,
        "UPDATE subscription_settles SET at = at - interval '1 day' WHERE consumer = 'a'",
    )
    assert await store.forget_settles(10) is False
    assert await kept() == of(2)

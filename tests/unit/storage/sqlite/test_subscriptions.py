"""Subscriptions in a SQLite file: what is kept of them, and what a killed process leaves."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace
from support.commands import SETTINGS, creation, extents, lease, settle
from support.events import event
from support.in_process import InProcessStore
from support.stores import until

from storage.errors import OutcomeUnknown
from storage.protocols import SubscriptionStore
from storage.sqlite import subscription_views as sqlite_views
from storage.sqlite import subscriptions as sqlite_subscriptions
from storage.sqlite.store import SqliteStore
from storage.subscriptions.commands import (
    Change,
    Command,
    Death,
    Delete,
    Retry,
    RetryDead,
    Seek,
    Settle,
)
from storage.subscriptions.model import Beginning, OnDead, Order, SubscriptionSettings, TopicView
from storage.subscriptions.outcomes import Done, Kept, Leased, Outcome, Retried, Settled, Sought


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[InProcessStore]:
    store = InProcessStore(path)
    await store.open()
    yield store
    await store.aclose()


async def do(store: SubscriptionStore, command: Command) -> Any:
    (outcome,) = await store.apply([command])
    return outcome


async def fill(store: InProcessStore | SqliteStore, topic: str = "t", count: int = 10) -> None:
    await store.append([event(topic, f"e-{n}") for n in range(count)])


async def views(store: SubscriptionStore, name: str = "s") -> list[TopicView]:
    seen: list[TopicView] = []
    assert await store.view_topics(name, seen.extend) is not None
    return seen


def rows(path: Path, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {columns} FROM {table}").fetchall()


async def test_everything_of_a_deleted_subscription_goes(store: InProcessStore, path: Path) -> None:
    await fill(store)
    for name in ("s", "other"):
        assert isinstance(await do(store, creation(name)), Kept)
        command = lease(4, name=name)
        leased = await do(store, command)
        dead = [Death("t", 1, "no")]
        settled = await do(store, settle(command, leased, dead=dead, digest=b"d"))
        assert isinstance(settled, Settled)
    tables = ("subscription_topics", "subscription_failures", "subscription_settles")
    assert [len(rows(path, table)) for table in tables] == [2, 2, 2]
    assert await do(store, Delete("s")) == Done()
    assert [name for (name,) in rows(path, "subscriptions", "name")] == ["other"]
    assert [len(rows(path, table)) for table in tables] == [1, 1, 1]


async def test_any_number_of_topics_is_written(store: InProcessStore, path: Path) -> None:
    starts = {f"t{n}": n for n in range(1, 110)}
    await do(store, creation(settings=replace(SETTINGS, topics=("*",)), starts=starts))
    assert dict(rows(path, "subscription_topics", "topic, next_offset")) == starts


async def test_a_seek_forgets_dead_letters_and_leases(store: InProcessStore) -> None:
    await fill(store)
    await do(store, creation())
    leased = await do(store, command := lease(4))
    await do(store, settle(command, leased, dead=[Death("t", 2, "no")]))
    assert await do(store, Seek("s", {"t": 3}, dry_run=False)) == Sought(0, 2)
    (view,) = await views(store)
    assert (view.state.place, view.state.dead, view.state.unsettled) == (3, 0, 0)
    assert await store.dead_letters(leased.subscription.id, limit=10) == []


async def test_a_failure_keeps_its_first_error_and_its_last(store: InProcessStore) -> None:
    await fill(store)
    settings = replace(SETTINGS, backoff_ms=(0,))
    await do(store, creation(settings=settings))
    for error in ("first", None, "second"):
        leased = await do(store, command := lease(1))
        await do(store, settle(command, leased, retry=[Retry("t", 1, 0, error)]))
    leased = await do(store, command := lease(1))
    await do(store, settle(command, leased, dead=[Death("t", 1)]))
    (letter,) = await store.dead_letters(leased.subscription.id, limit=10)
    assert (letter.offset, letter.deliveries) == (1, 4)
    assert (letter.first_error, letter.last_error) == ("first", "second")
    assert letter.dead_us is not None
    assert letter.first_failed_us < letter.dead_us


async def test_dead_letters_come_in_pages_and_are_retried_as_many_as_asked(
    store: InProcessStore,
) -> None:
    for topic in ("t", "u"):
        await fill(store, topic, 3)
    await do(store, creation(settings=replace(SETTINGS, topics=("t", "u"))))
    leased = await do(store, command := lease(10, "t", "u"))
    dead = [Death(topic, offset, "\x01 'ü'") for topic in ("t", "u") for offset in (1, 2, 3)]
    await do(store, settle(command, leased, dead=dead))
    id_ = leased.subscription.id
    first = await store.dead_letters(id_, limit=4)
    second = await store.dead_letters(id_, after=(first[-1].topic, first[-1].offset), limit=4)
    places = [(each.topic, each.offset) for each in first + second]
    assert places == [(each.topic, each.offset) for each in dead]
    assert first[0].last_error == "\x01 'ü'"
    ranges = [("u", 2, 9), ("t", 1, 2), ("t", 2, 2)]
    assert await do(store, RetryDead("s", ranges, limit=3)) == Retried(3, 1)
    left = await store.dead_letters(id_, limit=10)
    assert [(each.topic, each.offset) for each in left] == [("t", 3), ("u", 1), ("u", 3)]
    assert await do(store, RetryDead("s", None, limit=2)) == Retried(2, 1)


async def test_settings_that_change_change_what_rows_say_of_their_topics(
    store: InProcessStore, path: Path
) -> None:
    await fill(store)
    await do(store, creation())
    leased = await do(store, command := lease(2))
    await do(store, settle(command, leased, ack=[("t", 2, 2)], dead=[Death("t", 1, "no")]))
    id_ = leased.subscription.id
    for on_dead, ready in ((OnDead.PAUSE, []), (OnDead.CONTINUE, [(id_, "t")])):
        await do(store, Change(name="s", on_dead=on_dead))
        assert await store.ready_topics([id_], 10) == ready
        assert rows(path, "subscription_topics", "holds_new") == [(int(not ready),)]


async def test_topics_are_ready_that_have_something_to_hand_out(store: InProcessStore) -> None:
    settings = SubscriptionSettings(
        topics=("*",), begins=Beginning(at="start"), order=Order.NONE, backoff_ms=(60_000,)
    )
    made = creation(settings=settings)
    id_ = made.subscription.id
    await do(store, made)
    for topic in ("behind", "late", "free", "done"):
        await fill(store, topic, 2)
        most = 1 if topic == "behind" else 2
        leased = await do(store, command := lease(most, topic))
        settles: dict[str, dict[str, Any]] = {
            "behind": {},
            "late": {"retry": [Retry(topic, 1, 60_000)]},
            "free": {"release": [(topic, 2, 2)]},
            "done": {"ack": [(topic, 1, 2)]},
        }
        if settles[topic]:
            await do(store, settle(command, leased, **settles[topic]))
    assert await store.ready_topics([id_, "none"], 10) == [(id_, "behind"), (id_, "free")]
    assert await store.ready_topics([id_], 1) == [(id_, "behind")]
    await store.append([event("done", "new")])
    assert (id_, "done") in await store.ready_topics([id_], 10)


async def test_a_view_has_names_and_patterns_in_order_and_is_one_snapshot(
    store: InProcessStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_views, "_TOPICS_AT_ONCE", 2)
    topics = ["a.1", "a.2", "a.2.x", "a.3", "b", "b.1", "b0", "c"]
    for topic in topics:
        await fill(store, topic, 1)
    settings = SubscriptionSettings(
        topics=("a.*", "a.2.x", "b", "c", "never"), begins=Beginning(at="start")
    )
    await do(store, creation(settings=settings))
    leased = await do(store, lease(10, "a.3"))
    pages: list[list[TopicView]] = []

    def view(page: Any) -> None:
        if not pages:
            asyncio.run_coroutine_threadsafe(fill(store, "c", 5), loop)
        pages.append(list(page))

    loop = asyncio.get_running_loop()
    seen = await store.view_topics("s", view)
    assert seen is not None
    assert seen.subscription == leased.subscription
    found = [each for page in pages for each in page]
    assert [each.topic for each in found] == ["a.1", "a.2", "a.2.x", "a.3", "b", "c"]
    assert max(map(len, pages)) <= 2
    assert {each.head for each in found} == {1}, "of what was stored meanwhile nothing is seen"
    assert [each.topic for each in found if each.state.unsettled] == ["a.3"]
    assert None not in {each.oldest_us for each in found}
    assert await store.view_topics("none", view) is None
    await until_stored(store)


async def until_stored(store: InProcessStore) -> None:
    async def stored() -> bool:
        return (await store.heads(["c"]))["c"] == 5

    async with asyncio.timeout(30):
        while not await stored():
            pass


async def test_what_is_leased_in_other_topics_is_counted(store: InProcessStore) -> None:
    settings = replace(SETTINGS, topics=("t", "u"), max_leased=5)
    await do(store, creation(settings=settings))
    for topic in ("t", "u"):
        await fill(store, topic)
    assert extents(await do(store, lease(3, "t", all_topics=False))) == [("t", 1, 3)]
    assert extents(await do(store, lease(9, "u", all_topics=False))) == [("u", 1, 2)]


async def test_settles_are_forgotten_after_a_day_and_of_a_label_all_leases_but_one(
    store: InProcessStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, count=20)
    await do(store, creation(settings=replace(SETTINGS, order=Order.NONE)))
    last: dict[str, tuple[Settle, Outcome]] = {}
    for _ in range(4):
        for consumer in ("a", "b"):
            leased = await do(store, command := lease(2))
            (granted,) = leased.granted
            for offset in (granted.first, granted.last):
                parts = {"ack": [("t", offset, offset)], "digest": b"%d" % offset}
                settled = settle(command, leased, consumer=consumer, **parts)
                last[consumer] = settled, await do(store, settled)
    await do(store, settle(command := lease(1), await do(store, command), ack=[], digest=b"open"))
    assert len(rows(path, "subscription_settles")) == 17
    assert await store.forget_settles(5)
    assert not await store.forget_settles(100)
    assert len(rows(path, "subscription_settles", "lease")) == 5, "two of each label, and the open"
    for settled, outcome in last.values():
        again = await do(store, settled)
        assert isinstance(outcome, Settled)
        assert replace(again, now_us=outcome.now_us) == outcome
    monkeypatch.setattr(sqlite_subscriptions, "_KEPT_US", 0)
    assert not await store.forget_settles(100)
    assert rows(path, "subscription_settles") == []


def process_of(store: SqliteStore) -> psutil.Process:
    assert store._process is not None
    return psutil.Process(store._process.pid)


@pytest.mark.usefixtures("processes")
async def test_what_was_answered_outlives_a_killed_process(path: Path) -> None:
    store = SqliteStore(path, busy_timeout_ms=1000)
    await store.open()
    try:
        await do(store, creation())
        settled = [0]

        async def consume() -> None:
            while True:
                leased = await do(store, command := lease(20))
                if not leased.granted:
                    continue
                await do(store, settle(command, leased))
                settled.append(leased.granted[-1].last)

        async def publish() -> None:
            for number in range(1000):
                size = 2000 if number % 3 == 1 else 50
                await store.append([event("t", f"{number}-{n}") for n in range(size)])

        ends = [asyncio.create_task(each()) for each in (consume, publish)]
        await until(lambda: len(settled) > 5, "some are settled")
        process_of(store).kill()
        for ended in await asyncio.gather(*ends, return_exceptions=True):
            assert isinstance(ended, OutcomeUnknown)
        await until(lambda: not (store._process and store._process.is_connected), "it is noticed")
        await store.ping()
        (view,) = await views(store)
        state = view.state
        assert state.place in {settled[-1], settled[-1] + 20}
        assert view.head - state.start == state.acknowledged + state.unsettled + (
            view.head - state.next_offset
        )
        assert isinstance(await do(store, lease()), Leased)
    finally:
        await store.aclose()

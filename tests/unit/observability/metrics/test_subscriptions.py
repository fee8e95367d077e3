"""Metrics of subscriptions: looks that are bounded, and counts of what a process did."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import cast

import pytest
from prometheus_client.metrics_core import Metric
from structlog.testing import capture_logs

from aggregator.logging import observer_guard
from aggregator.logging.rate_limit import LogRateLimit
from aggregator.observability.metrics import subscription_look
from aggregator.observability.metrics.subscription_look import (
    SubscriptionLook,
    SubscriptionsSeen,
)
from aggregator.observability.metrics.subscriptions import (
    consumer_families,
    subscription_families,
)
from aggregator.subscriptions.counters import SubscriptionCounters
from storage.errors import StorageUnavailable
from storage.protocols import SubscriptionStore
from storage.subscriptions.model import (
    Subscription,
    SubscriptionSettings,
    SubscriptionView,
    TopicState,
    TopicView,
    Unsettled,
)

NOW_US = 1_769_860_800_000_000
SETTINGS = SubscriptionSettings(topics=("**",))
ORDERS = TopicView(
    "orders",
    100,
    TopicState(
        start=10,
        next_offset=60,
        acknowledged=30,
        dead=2,
        redelivered=4,
        ranges=(
            Unsettled(20, 29, 1, NOW_US + 1, "lease-1", 10),
            Unsettled(30, 32, 1, NOW_US, "lease-2", 3),
            Unsettled(33, 37, 2, NOW_US + 1),
        ),
    ),
    NOW_US - 90_000_000,
)
SHIPMENTS = TopicView("shipments", 7, TopicState(), NOW_US - 120_500_000)
DONE = TopicView("done", 5, TopicState(0, 5, 4, 1), None)


class Scripted:
    """A store whose looks are held, counted and told to fail."""

    def __init__(self, views: Mapping[str, Sequence[Sequence[TopicView]]]) -> None:
        self.views = dict(views)
        self.paused = ""
        self.broken: Exception | None = None
        self.looks = 0
        self.looked_at: list[str] = []
        self.going_on = asyncio.Event()
        self.going_on.set()

    async def subscriptions(self, *, after: str = "", limit: int) -> list[Subscription]:
        assert after == ""
        self.looks += 1
        await self.going_on.wait()
        if self.broken is not None:
            raise self.broken
        return [self._subscription(name) for name in sorted([*self.views, "gone"])[:limit]]

    async def view_topics(
        self, name: str, view: Callable[[Sequence[TopicView]], object]
    ) -> SubscriptionView | None:
        self.looked_at.append(name)
        if name == "gone":
            return None
        for views in self.views[name]:
            view(views)
        return SubscriptionView(self._subscription(name), NOW_US)

    def _subscription(self, name: str) -> Subscription:
        reason = "a reason" if name == self.paused else None
        return Subscription(name=name, id=name, settings=SETTINGS, reason=reason)


def look_at(store: Scripted, max_subscriptions: int = 10) -> SubscriptionLook:
    return SubscriptionLook(cast("SubscriptionStore", store), max_subscriptions)


def samples(families: Iterable[Metric]) -> Iterator[tuple[str, tuple[str, ...], float]]:
    for family in families:
        for sample in family.samples:
            yield sample.name.removeprefix("aggregator_"), (*sample.labels.values(),), sample.value


def of(seen: SubscriptionsSeen | None, name: str) -> dict[str, float]:
    return {
        metric.removeprefix("subscription_"): value
        for metric, labels, value in samples(subscription_families(seen))
        if labels == (name,)
    }


async def test_a_subscription_has_the_sums_of_its_topics() -> None:
    store = Scripted({"billing": [[ORDERS, SHIPMENTS], [DONE]], "idle": [], "quiet": [[DONE]]})
    store.paused = "idle"
    look = look_at(store)
    await look.start()
    # A lease that has run out holds nothing.
    assert of(look.seen, "billing") == {
        "lag_events": 65, "lag_seconds": 120.5, "leased": 10, "waiting": 55, "acknowledged": 34,
        "dead": 3, "redelivered": 4, "paused": 0,
    }  # fmt: skip
    assert of(look.seen, "idle")["paused"] == 1
    assert of(look.seen, "quiet") | {"acknowledged": 4} == of(look.seen, "quiet")
    assert of(look.seen, "quiet")["lag_seconds"] == 0
    assert of(look.seen, "gone") == {}


@pytest.mark.parametrize(("bound", "left_out"), [(3, 0), (2, 1)])
async def test_subscriptions_beyond_the_bound_are_not_looked_at(bound: int, left_out: int) -> None:
    store = Scripted({"a": [[DONE]], "z": [[DONE]]})
    look = look_at(store, bound)
    await look.start()
    assert store.looked_at == ["a", "gone", "z"][:bound]
    families = {name: value for name, _, value in samples(subscription_families(look.seen))}
    assert families["subscriptions_left_out"] == left_out


async def test_a_look_that_is_under_way_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_look, "_SHARE", 1.0)
    store = Scripted({"a": [[DONE]]})
    look = look_at(store)
    store.going_on.clear()
    first = look.start()
    await asyncio.sleep(0)
    assert look.start() is first
    assert of(look.seen, "a") == {}
    store.going_on.set()
    await first
    assert of(look.seen, "a")
    assert store.looks == 1
    await look.start()
    assert store.looks == 2


async def test_a_look_leaves_the_time_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_look, "_SHARE", 1e-12)
    store = Scripted({"a": [[DONE]]})
    look = look_at(store)
    first = look.start()
    await first
    assert look.start() is first
    assert store.looks == 1


async def test_a_look_that_fails_has_seen_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_look, "_SHARE", 1.0)
    monkeypatch.setattr(observer_guard, "_failures", LogRateLimit("failed", 1, level="error"))
    store = Scripted({"a": [[DONE]]})
    look = look_at(store)
    await look.start()
    store.broken = StorageUnavailable("it is gone")
    with capture_logs() as lines:
        await look.start()
    assert (of(look.seen, "a"), lines) == ({}, [])
    store.broken = None
    await look.start()
    assert of(look.seen, "a")
    store.broken = RuntimeError("nobody foresaw it")
    with capture_logs() as lines:
        await look.start()
    assert of(look.seen, "a") == {}
    assert [line["event"] for line in lines] == ["observer_failed"]
    # A metric that is not there always shows no rise when it is.
    assert {family.name for family in subscription_families(None)} == {
        family.name for family in subscription_families(SubscriptionsSeen([], left_out=False))
    }


async def test_a_look_ends_with_its_process() -> None:
    store = Scripted({})
    look = look_at(store)
    await look.aclose()
    store.going_on.clear()
    looking = look.start()
    await asyncio.sleep(0)
    await look.aclose()
    assert looking.cancelled()


def test_what_a_process_did_is_counted() -> None:
    counters = SubscriptionCounters()
    before = list(samples(consumer_families(counters)))
    assert {value for _, _, value in before} == {0}
    counters.leases, counters.events_leased, counters.redelivered = 2, 10, 3
    counters.settles_done, counters.unwritten, counters.waits = 4, 5, 6
    counters.settles_refused.update(["lease_lost", "invalid", "lease_lost"])
    counters.acknowledged, counters.retried, counters.dead, counters.released = 11, 12, 13, 14
    counters.commands_waiting, counters.flushes, counters.flushes_failed = 15, 16, 17
    after = list(samples(consumer_families(counters)))
    assert [each[:2] for each in after] == [each[:2] for each in before]
    assert {(name, *labels): value for name, labels, value in after if value} == {
        ("leases_total",): 2,
        ("deliveries_total", "first"): 7,
        ("deliveries_total", "again"): 3,
        ("unwritten_leases_total",): 5,
        ("settles_total", "done"): 4,
        ("settles_total", "lease_lost"): 2,
        ("settles_total", "invalid"): 1,
        ("settled_events_total", "acknowledged"): 11,
        ("settled_events_total", "retried"): 12,
        ("settled_events_total", "dead"): 13,
        ("settled_events_total", "released"): 14,
        ("lease_waits",): 6,
        ("commands_waiting",): 15,
        ("command_flushes_total", "committed"): 16,
        ("command_flushes_total", "failed"): 17,
    }

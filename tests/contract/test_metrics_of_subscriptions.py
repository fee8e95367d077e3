"""GET /metrics of subscriptions: what it says is so, and it holds nobody up."""

import asyncio
from typing import Any

import pytest
from support.backends import Database
from support.events import published
from support.http import Client, MakeClient
from support.metrics import Scraped
from support.stores import ControlledStore
from support.talking import get_json, publish
from support.tasks import StartSoon

from aggregator.observability.metrics import exposition
from storage.errors import StorageUnavailable
from storage.subscriptions.model import Subscription

GAUGES = ("leased", "waiting", "acknowledged", "dead", "redelivered")


class HeldLooks(ControlledStore):
    """Keeps the list of subscriptions waiting while `going_on` is not set."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.store())
        self.going_on = asyncio.Event()
        self.going_on.set()

    async def subscriptions(self, *, after: str = "", limit: int) -> list[Subscription]:
        await self.going_on.wait()
        if self.broken is not None:
            raise self.broken
        return await super().subscriptions(after=after, limit=limit)


async def scrape(client: Client) -> Scraped:
    response = await client.get("/metrics")
    assert response.status == 200
    return Scraped(await response.text())


async def subscribe(client: Client, name: str, **settings: Any) -> None:
    made = await client.put(f"/subscriptions/{name}", json={"from": "start", **settings})
    assert made.status == 201, await made.text()


async def lease(client: Client, name: str, max_events: int = 100) -> str:
    request = {"consumer": "worker-1", "max_events": max_events}
    answer = await client.post(f"/subscriptions/{name}/lease", json=request)
    assert answer.status == 200, await answer.text()
    leased: str = (await answer.json())["lease"]
    return leased


async def settle(client: Client, name: str, **what: Any) -> int:
    answer = await client.post(f"/subscriptions/{name}/settle", json=what)
    return answer.status


async def test_gauges_equal_what_is_told_of_a_subscription(client: Client) -> None:
    await publish(client, [published() for _ in range(8)])
    await publish(client, [published(topic="shipments") for _ in range(2)])
    await subscribe(client, "billing", topics=["orders"], backoff_ms=[0])
    await subscribe(client, "audit", topics=["**"])
    first = await lease(client, "billing", 4)
    retries = [{"topic": "orders", "offset": 3}]
    dead = [{"topic": "orders", "offset": 2, "error": "no such customer"}]
    ack = [["orders", 1, 1]]
    assert await settle(client, "billing", lease=first, ack=ack, dead=dead, retry=retries) == 200
    await lease(client, "billing", 3)
    assert (await client.post("/subscriptions/audit/pause", json={})).status == 200
    scraped = await scrape(client)
    for name, paused in (("billing", 0), ("audit", 1)):
        told = await get_json(client, f"/subscriptions/{name}")
        for gauge in GAUGES:
            value = scraped.value(f"aggregator_subscription_{gauge}", subscription=name)
            assert value == told[gauge], gauge
        lag = told["lag"]
        value = scraped.value("aggregator_subscription_lag_events", subscription=name)
        assert value == lag["events"] > 0
        seconds = scraped.value("aggregator_subscription_lag_seconds", subscription=name)
        assert 0 < seconds <= lag["seconds"]
        assert scraped.value("aggregator_subscription_paused", subscription=name) == paused
    assert scraped.value("aggregator_subscription_redelivered", subscription="billing") == 1
    assert scraped.value("aggregator_subscriptions_left_out") == 0


async def test_what_consumers_did_is_counted(client: Client) -> None:
    await publish(client, [published() for _ in range(8)])
    await subscribe(client, "billing", topics=["orders"], backoff_ms=[0])
    first = await lease(client, "billing")
    ack = [["orders", 1, 3]]
    retries = [{"topic": "orders", "offset": 4}]
    assert await settle(client, "billing", lease=first, ack=ack, retry=retries) == 200
    assert await settle(client, "billing", lease=first, ack=[["orders", 4, 4]]) == 409
    assert await settle(client, "billing", lease=first, ack=[["orders", 9, 9]]) in {409, 422}
    await lease(client, "billing")
    scraped = await scrape(client)
    assert scraped.value("aggregator_leases_total") == 2
    # What is behind the retry was released: its delivery did not count.
    assert scraped.by("aggregator_deliveries_total", "delivery") == {("first",): 12, ("again",): 1}
    settles = scraped.by("aggregator_settles_total", "outcome")
    assert settles.pop(("done",)) == 1
    assert sum(settles.values()) == 2
    assert settles[("lease_lost",)] >= 1
    assert scraped.by("aggregator_settled_events_total", "outcome") == {
        ("acknowledged",): 3,
        ("retried",): 1,
        ("released",): 4,
    }
    # Making it was one as well.
    flushes = scraped.by("aggregator_command_flushes_total", "outcome")
    assert set(flushes) == {("committed",)}
    assert flushes[("committed",)] >= 6
    assert scraped.value("aggregator_commands_waiting") == 0
    assert scraped.value("aggregator_lease_waits") == 0


async def test_a_look_that_takes_long_holds_neither_scrapes_nor_publishes_up(
    make_client: MakeClient,
    database: Database,
    start_soon: StartSoon,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exposition, "_MAX_LOOK_WAIT_S", 0.01)
    store = HeldLooks(database)
    client = await make_client(store)
    await subscribe(client, "billing", topics=["orders"])
    store.going_on.clear()
    for _ in range(2):
        await publish(client, published())
        scraped = await scrape(client)
    assert scraped.value("aggregator_log_received") == 2
    assert not scraped.by("aggregator_subscription_lag_events", "subscription")
    store.going_on.set()
    monkeypatch.setattr(exposition, "_MAX_LOOK_WAIT_S", 30.0)
    scraped = await scrape(client)
    assert scraped.value("aggregator_subscription_lag_events", subscription="billing") == 2
    store.broken = StorageUnavailable("it is gone")
    assert (await client.post("/publish", json=published())).status == 503
    scraped = await scrape(client)
    assert not scraped.by("aggregator_subscription_lag_events", "subscription")
    assert "aggregator_subscription_lag_events" in scraped.names()

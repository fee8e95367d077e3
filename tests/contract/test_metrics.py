"""GET /metrics: what it says is so, and it answers whatever the store does."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from support.backends import Database
from support.events import published
from support.http import Client, MakeClient
from support.metrics import Scraped
from support.sockets import exchange, get, post
from support.stores import ControlledStore, until
from support.talking import get_json, publish
from support.tasks import StartSoon

from aggregator.observability.metrics import exposition
from aggregator.observability.metrics.histogram import Histogram
from storage.errors import StorageUnavailable
from storage.model import Stats

COUNTS = ("received", "unique_processed", "duplicate_dropped", "conflicts")


class HeldStats(ControlledStore):
    """Keeps `stats` waiting while `going_on` is not set."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.store())
        self.going_on = asyncio.Event()
        self.going_on.set()
        self.asked = 0

    async def stats(self, **asked: Any) -> Stats:
        self.asked += 1
        await self.going_on.wait()
        return await super().stats(**asked)


async def scrape(client: Client) -> Scraped:
    response = await client.get("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scraped(await response.text())


async def scraped_once(client: Client, condition: Callable[[Scraped], object]) -> Scraped:
    """The first page for which a condition holds."""
    async with asyncio.timeout(30):
        while not condition(scraped := await scrape(client)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return scraped


async def test_log_counts_equal_those_of_stats(client: Client) -> None:
    event = published(topic="a")
    await publish(client, [event, event, published(topic="b")])
    await publish(client, event | {"payload": {}})
    scraped, stats = await scrape(client), await get_json(client, "/stats")
    assert {name: scraped.value(f"aggregator_log_{name}") for name in COUNTS} == {
        name: stats[name] for name in COUNTS
    }
    assert scraped.value("aggregator_log_topics") == 2
    assert scraped.by("aggregator_events_total", "topic", "verdict") == {
        ("a", "stored"): 1,
        ("a", "duplicate"): 1,
        ("a", "conflict"): 1,
        ("b", "stored"): 1,
    }


async def test_an_empty_aggregator_has_every_family_already(client: Client) -> None:
    before = await scrape(client)
    await publish(client, published())
    assert (await scrape(client)).names() == before.names()
    assert before.value("aggregator_log_received") == 0


async def test_requests_flushes_and_commits_are_counted(client: Client) -> None:
    await publish(client, [published(), published()])
    await publish(client, published())
    assert (await client.post("/publish", data=b"{")).status == 415
    assert (await client.get("/no-such-path")).status == 404
    scraped = await scrape(client)
    assert scraped.by("aggregator_requests_total", "path", "status") == {
        ("/publish", "200"): 2,
        ("/publish", "415"): 1,
        ("other", "404"): 1,
    }
    assert scraped.value("aggregator_request_duration_seconds_count", path="/publish") == 3
    for name in ("flush_duration_seconds", "commit_duration_seconds", "flush_events"):
        assert scraped.value(f"aggregator_{name}_count") == 2
    assert scraped.value("aggregator_flush_events_sum") == 3
    commits, flushes = (
        scraped.value(f"aggregator_{name}_duration_seconds_sum") for name in ("commit", "flush")
    )
    assert 0 < commits < flushes


async def test_requests_are_counted_by_route_however_their_path_is_written(client: Client) -> None:
    for target, status in (
        ("/%73tats", 200),
        ("/stats", 200),
        ("/events/a/b%2Fc", 404),
        ("/%65vents/a/b", 404),
        ("/no/%73tats", 404),
        ("/events/a/b/c", 404),
    ):
        assert (await get(client, target)).status == status
    assert (await client.put("/publish")).status == 405
    assert (await exchange(client, post(b"{").replace(b"/publish", b"/%70ublish"))).status == 400
    scraped = await scrape(client)
    assert scraped.by("aggregator_requests_total", "path", "status") == {
        ("/stats", "200"): 2,
        ("/events/{topic}/{event_id}", "404"): 2,
        ("other", "404"): 2,
        ("/publish", "405"): 1,
        ("/publish", "400"): 1,
    }


async def test_failing_observer_does_not_change_the_answer(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither that of a COMMIT, nor those of a flush and of a request."""

    def fail(*_: object) -> None:
        raise RuntimeError("no count")

    with monkeypatch.context() as patched:
        patched.setattr(Histogram, "observe", fail)
        for status in ("stored", "duplicate"):
            answer = await publish(client, published(event_id="e-1"))
            assert [result["status"] for result in answer["results"]] == [status]
    assert (await publish(client, published(event_id="e-1")))["duplicate_dropped"] == 1


async def test_database_pools_and_build_are_exposed(client: Client, backend: str) -> None:
    await publish(client, published(payload={"text": "x" * 100_000}))
    scraped = await scrape(client)
    assert scraped.value("aggregator_database_bytes") > 100_000
    pools = {"readers"} if backend == "sqlite" else {"readers", "writers", "subscriptions"}
    limits = scraped.by("aggregator_pool_connections_limit", "pool")
    assert set(limits) == {(pool,) for pool in pools}
    for pool in pools:
        assert 0 <= scraped.value("aggregator_pool_connections", pool=pool) <= limits[(pool,)]
    assert [*scraped.by("aggregator_build_info", "backend")] == [(backend,)]
    assert scraped.value("process_resident_memory_bytes") > 0


async def test_queue_and_refusals_are_exposed(
    make_client: MakeClient, database: Database, start_soon: StartSoon
) -> None:
    held = ControlledStore(database.store())
    held.hold()
    client = await make_client(held, max_batch_events=2, queue_max_events=3)
    waiting = start_soon(publish(client, [published(), published()]))
    await held.begun()
    for _ in range(2):
        assert (await client.post("/publish", json=[published(), published()])).status == 503
    full = await scrape(client)
    assert full.value("aggregator_queue_events") == 2
    assert full.value("aggregator_queue_events_limit") == 3
    assert 0 < full.value("aggregator_queue_bytes") < full.value("aggregator_queue_bytes_limit")
    assert full.by("aggregator_refusals_total", "of") == {("events",): 2}
    held.release()
    await waiting
    assert (await scrape(client)).value("aggregator_queue_events") == 0


async def test_refused_reads_are_counted(
    make_client: MakeClient, database: Database, start_soon: StartSoon
) -> None:
    store = HeldStats(database)
    client = await make_client(store, max_reads=1)
    store.going_on.clear()
    waiting = start_soon(get_json(client, "/stats"))
    await until(lambda: store.asked == 1, "the first read")
    assert (await client.get("/events")).status == 503
    asked = start_soon(scrape(client))
    await until(lambda: store.asked == 2, "the page is no read that may be refused")
    store.going_on.set()
    assert (await asked).by("aggregator_refusals_total", "of") == {("reads",): 1}
    await waiting


async def test_metrics_without_the_store_are_exposed(
    make_client: MakeClient, database: Database
) -> None:
    store = ControlledStore(database.store())
    client = await make_client(store)
    await publish(client, published())
    store.broken = StorageUnavailable("it is gone")
    assert (await client.post("/publish", json=published())).status == 503
    lost = await scrape(client)
    assert lost.value("aggregator_store_available") == 0
    assert not lost.by("aggregator_log_received")
    assert "aggregator_log_received" in lost.names()
    assert lost.by("aggregator_flush_failures_total", "reason") == {("unavailable",): 1}
    assert sum(lost.by("aggregator_events_total", "topic").values()) == 1
    await scraped_once(client, lambda page: page.value("aggregator_store_retries_total"))
    store.broken = None
    back = await scraped_once(client, lambda page: page.value("aggregator_store_available"))
    assert back.value("aggregator_log_received") == 1


async def test_a_batch_tried_again_request_by_request_counts_each_event_once(
    make_client: MakeClient, database: Database, start_soon: StartSoon
) -> None:
    store = ControlledStore(database.store())
    client = await make_client(store)
    store.hold()
    # Large enough that the next two wait for it together.
    first = start_soon(publish(client, [published() for _ in range(5)]))
    await store.begun()
    bad, good = published(), published()
    store.refused = {bad["event_id"]}
    refused = start_soon(client.post("/publish", json=bad))
    stored = start_soon(publish(client, [good, good]))
    await scraped_once(client, lambda page: page.value("aggregator_queue_events") == 8)
    store.release()
    assert (await refused).status == 503
    await asyncio.gather(first, stored)
    scraped = await scrape(client)
    assert scraped.by("aggregator_events_total", "verdict") == {("stored",): 6, ("duplicate",): 1}
    assert scraped.value("aggregator_log_received") == 7
    assert scraped.value("aggregator_flush_retries_total") == 1
    assert scraped.by("aggregator_flush_failures_total", "reason").keys() == {("refused",)}


async def test_concurrent_scrapes_share_one_read_and_do_not_wait_for_a_slow_store(
    make_client: MakeClient,
    database: Database,
    start_soon: StartSoon,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = HeldStats(database)
    client = await make_client(store)
    store.going_on.clear()
    asking = [start_soon(scrape(client)) for _ in range(5)]
    await until(lambda: store.asked == 1, "the question")
    monkeypatch.setattr(exposition, "_MAX_WAIT_S", 0.01)
    late = await scrape(client)
    assert not late.by("aggregator_database_bytes")
    assert late.value("aggregator_store_available") == 1
    store.going_on.set()
    for each in await asyncio.gather(*asking):
        assert each.value("aggregator_log_received") == 0
    assert store.asked == 1

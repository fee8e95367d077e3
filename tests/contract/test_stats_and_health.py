"""GET /stats, /health and /ready."""

from support.backends import Database
from support.events import published
from support.http import Client, MakeClient
from support.stores import ControlledStore
from support.talking import expect_problem, get_json, publish
from support.tasks import StartSoon

from storage.errors import StorageUnavailable
from storage.protocols import EventStore

COUNTS = {"received", "unique_processed", "duplicate_dropped", "conflicts"}


async def test_an_empty_aggregator_has_counted_nothing(client: Client, backend: str) -> None:
    stats = await get_json(client, "/stats")
    assert set(stats) == COUNTS | {"topics", "topics_total", "uptime", "uptime_seconds", "backend"}
    assert {name: stats[name] for name in COUNTS} == dict.fromkeys(COUNTS, 0)
    assert stats["topics"] == {}
    assert stats["topics_total"] == 0
    assert stats["backend"] == backend


async def test_counts_are_kept_by_topic_and_in_all(client: Client) -> None:
    first = published(topic="a")
    await publish(client, [first, published(topic="a"), published(topic="b"), first])
    await publish(client, [first | {"payload": {}}, published(topic="b")])
    await client.post("/publish", json=[published(topic="c"), {}])
    stats = await get_json(client, "/stats")
    assert stats["topics"] == {
        "a": {
            "received": 4,
            "unique_processed": 2,
            "duplicate_dropped": 2,
            "conflicts": 1,
            "head_offset": 2,
        },
        "b": {
            "received": 2,
            "unique_processed": 2,
            "duplicate_dropped": 0,
            "conflicts": 0,
            "head_offset": 2,
        },
    }
    assert {name: stats[name] for name in COUNTS} == {
        "received": 6,
        "unique_processed": 4,
        "duplicate_dropped": 2,
        "conflicts": 1,
    }


async def test_both_names_of_the_uptime_give_one_number_that_grows(client: Client) -> None:
    before, after = [await get_json(client, "/stats") for _ in range(2)]
    for stats in (before, after):
        assert stats["uptime"] == stats["uptime_seconds"]
        assert isinstance(stats["uptime"], (int, float))
    assert 0 <= before["uptime"] <= after["uptime"]


async def test_counts_outlive_the_application(make_client: MakeClient) -> None:
    first = await make_client()
    event = published()
    await publish(first, [event, event])
    await first.close()
    second = await make_client()
    stats = await get_json(second, "/stats")
    assert (stats["received"], stats["duplicate_dropped"]) == (2, 1)
    assert (await publish(second, event))["results"][0]["offset"] == 1


async def test_healthy_aggregator_is_200_on_health_and_ready(client: Client) -> None:
    assert await get_json(client, "/health") == {"status": "ok"}
    await get_json(client, "/ready")


async def reason_not_ready(client: Client) -> str:
    """Why /ready says no; /health goes on saying yes."""
    problem = await expect_problem(await client.get("/ready"), 503)
    assert await get_json(client, "/health") == {"status": "ok"}
    reason: str = problem["detail"]
    return reason


async def test_not_ready_while_the_queue_is_full(
    make_client: MakeClient, database: Database, start_soon: StartSoon
) -> None:
    store = ControlledStore(database.store())
    client = await make_client(store, max_batch_events=2, queue_max_events=2)
    store.hold()
    waiting = start_soon(publish(client, [published(), published()]))
    await store.begun()
    assert "queue is full" in await reason_not_ready(client)
    store.release()
    assert (await waiting)["received"] == 2
    await get_json(client, "/ready")


async def test_not_ready_while_the_store_is_broken(
    make_client: MakeClient, database: Database
) -> None:
    store = ControlledStore(database.store())
    client = await make_client(store)
    store.broken = StorageUnavailable("the disk is full")
    assert "the disk is full" in await reason_not_ready(client)
    # One failed ping is enough to refuse publishes, too.
    await expect_problem(await client.post("/publish", json=published()), 503)


async def test_not_ready_and_no_stats_once_the_store_is_closed(
    make_client: MakeClient, store: EventStore
) -> None:
    client = await make_client(store)
    await publish(client, published())
    await store.aclose()
    assert await reason_not_ready(client)
    for target in ("/stats", "/events", "/events?topic=a", "/events/orders/e-1"):
        await expect_problem(await client.get(target), 503)
    await expect_problem(await client.post("/publish", json=published()), 503)


async def test_not_ready_while_the_store_was_never_reached(
    make_client: MakeClient, database: Database
) -> None:
    class OutOfReach(ControlledStore):
        async def open(self) -> None:
            raise StorageUnavailable("nobody answers")

    client = await make_client(OutOfReach(database.store()))
    assert "nobody answers" in await reason_not_ready(client)
    await expect_problem(await client.post("/publish", json=published()), 503)


async def test_draining_aggregator_is_not_ready(client: Client) -> None:
    await client.server.app.shutdown()  # type: ignore[attr-defined] # aiohttp types it loosely
    assert "shutting down" in await reason_not_ready(client)
    problem = await expect_problem(await client.post("/publish", json=published()), 503)
    assert "shutting down" in problem["detail"]
    await get_json(client, "/stats")

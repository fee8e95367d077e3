"""Whatever is asked of a subscription, `verify` agrees with what is kept of it then."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.backends import Database
from support.events import published
from support.http import Client
from support.talking import publish
from support.verifying import verified

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
async def agrees(client: Client, database: Database) -> Ask:
    """Asks for something, has the database verified, and returns the answer."""

    async def ask(method: str, path: str, body: Any = None) -> Any:
        answer = await client.request(method, f"/subscriptions/billing{path}", json=body)
        text = await answer.text()
        assert answer.status < 300, text
        ended = await asyncio.to_thread(verified, database)
        assert (ended.code, ended.err) == (0, ""), ended.out
        return await answer.json() if text else None

    return ask


async def lease(agrees: Ask, max_events: int) -> tuple[str, list[tuple[str, int]]]:
    leased = await agrees("POST", "/lease", {"consumer": "worker-1", "max_events": max_events})
    events = [(each["event"]["topic"], each["event"]["offset"]) for each in leased["deliveries"]]
    return leased["lease"], events


@pytest.mark.parametrize("order", ["topic", "none"])
async def test_what_is_kept_agrees_after_anything(client: Client, agrees: Ask, order: str) -> None:
    for topic in ("orders", "shipments"):
        await publish(client, [published(topic=topic) for _ in range(12)])
    settings = {
        "topics": ["orders"], "from": "start", "order": order, "backoff_ms": [0],
        "max_deliveries": 2,
    }  # fmt: skip
    await agrees("PUT", "", settings)
    held, _ = await lease(agrees, 10)
    dead = [{"topic": "orders", "offset": offset, "error": "x"} for offset in (2, 4)]
    retry = [{"topic": "orders", "offset": 5, "error": "y"}]
    ack = [["orders", 1, 1], ["orders", 3, 3]]
    settled = await agrees(
        "POST", "/settle", {"lease": held, "ack": ack, "dead": dead, "retry": retry}
    )
    assert (settled["acknowledged"], settled["dead"], settled["retried"]) == (2, 2, 1)
    if order == "none":
        rest = [["orders", 6, 8]]
        await agrees("POST", "/settle", {"lease": held, "release": rest, "extend_ms": 60_000})
    # It was delivered once of two times, so it comes alone, and is dead when it fails again.
    held, events = await lease(agrees, 10)
    assert events == [("orders", 5)]
    retry = [{"topic": "orders", "offset": 5}]
    assert (await agrees("POST", "/settle", {"lease": held, "retry": retry}))["dead"] == 1
    assert await agrees("POST", "/dead/retry", {"offsets": [["orders", 4, 4]]}) == {
        "retried": 1,
        "left": 0,
    }
    await agrees("DELETE", "/dead/orders/2")
    await agrees("PATCH", "", {"topics": ["**"], "source": "shop"})
    await lease(agrees, 100)
    await agrees("PATCH", "", {"topics": ["shipments"]})
    await agrees("POST", "/seek", {"from": {"offsets": {"shipments": 3}}})
    await publish(client, [published(topic="shipments", source="elsewhere") for _ in range(3)])
    held, events = await lease(agrees, 100)
    assert events == [("shipments", offset) for offset in range(4, 13)]
    ack = [["shipments", 4, 9]]
    await agrees("POST", "/settle", {"lease": held, "ack": ack})
    await agrees("POST", "/pause", {})
    await agrees("POST", "/resume", {})
    await agrees("POST", "/seek", {"from": "start", "dry_run": True})
    told = await agrees("POST", "/seek", {"from": "now"})
    assert (told["again"], told["skipped"]) == (0, 3)
    await agrees("DELETE", "")


async def test_a_topic_that_a_dead_letter_stops_agrees(client: Client, agrees: Ask) -> None:
    await publish(client, [published() for _ in range(6)])
    await agrees("PUT", "", {"topics": ["orders"], "from": "start", "on_dead": "pause"})
    held, _ = await lease(agrees, 6)
    dead = [{"topic": "orders", "offset": 2, "error": "x"}]
    await agrees("POST", "/settle", {"lease": held, "dead": dead})
    rest = [["orders", 1, 1], ["orders", 3, 6]]
    await agrees("POST", "/settle", {"lease": held, "release": rest})
    assert (await lease(agrees, 6))[1] == []
    await agrees("PATCH", "", {"on_dead": "continue"})
    assert len((await lease(agrees, 6))[1]) == 5
    await agrees("PATCH", "", {"on_dead": "pause"})
    assert (await agrees("POST", "/dead/retry", {"all": True}))["retried"] == 1
    await agrees("DELETE", "")

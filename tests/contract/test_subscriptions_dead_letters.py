"""Dead letters: how events come to be dead, and what becomes of them then."""

import asyncio
from typing import Any

from support.http import Client
from support.subscribing import (
    counts,
    deliveries_of,
    events_of,
    fill,
    lease,
    look,
    make,
    offsets_of,
    refused,
    send,
    settle,
)
from support.talking import expect_problem, get_json, next_link


async def kill(client: Client, *offsets: int, topic: str = "orders") -> None:
    """Lease and declare dead, with all before them acknowledged."""
    leased = await lease(client)
    for offset in offsets:
        dead = [{"topic": topic, "offset": offset, "error": f"e-{offset}"}]
        await settle(client, leased, dead=dead)
    rest = [[topic, n, n] for n in offsets_of(leased) if n not in offsets]
    await settle(client, leased, release=rest)


async def dead(client: Client, **parameters: object) -> list[dict[str, Any]]:
    """The dead letters of a subscription."""
    found: list[dict[str, Any]] = await get_json(
        client, "/subscriptions/billing/dead", **parameters
    )
    return found


async def test_an_event_is_dead_by_count_only_if_it_was_alone(client: Client) -> None:
    await fill(client, 3)
    await make(client, max_deliveries=2, backoff_ms=[0])
    leased = await lease(client)
    retry = [{"topic": "orders", "offset": 1, "error": "first"}]
    await settle(client, leased, retry=retry)
    again = await lease(client)
    assert (offsets_of(again), deliveries_of(again)) == ([1], [2])
    assert await dead(client) == []
    settled = await settle(client, again, retry=[{**retry[0], "error": "last\0" + "x" * 4000}])
    assert (settled["retried"], settled["dead"]) == (0, 1)
    (letter,) = await dead(client)
    (event, *_) = await get_json(client, "/events", topic="orders", after=0)
    assert letter.pop("first_failed_at") <= letter.pop("dead_at")
    assert letter == {
        "topic": "orders",
        "offset": 1,
        "deliveries": 2,
        "first_error": "first",
        "last_error": "last\N{REPLACEMENT CHARACTER}" + "x" * 3995,
        "event": event,
    }
    assert counts(await look(client)) == [0, 1, 0, 2]
    assert offsets_of(await lease(client)) == [2, 3]


async def test_a_lease_of_one_event_that_runs_out_makes_it_dead(client: Client) -> None:
    await fill(client, 2)
    await make(client, max_deliveries=1, lease_ms=1000)
    alone = await lease(client, 1)
    assert offsets_of(alone) == [1]
    following = await lease(client, wait_ms=20_000)
    assert offsets_of(following) == [2]
    (letter,) = await dead(client)
    assert (letter["offset"], letter["deliveries"]) == (1, 1)
    assert letter["first_error"] == letter["last_error"] == "the lease of its last delivery ran out"
    body = {"lease": alone["lease"], "ack": [["orders", 1, 1]]}
    assert (await refused(client, "settle", body, 409))["code"] == "lease_lost"


async def test_dead_letters_are_paged_by_topic_and_offset(client: Client) -> None:
    await fill(client, 3, "b", "a")
    await make(client, "a", "b")
    leased = await lease(client)
    letters = [{"topic": topic, "offset": offset} for topic, offset in events_of(leased)]
    await settle(client, leased, dead=letters)
    found = []
    target = "/subscriptions/billing/dead?limit=4"
    while target:
        response = await client.get(target)
        page = await response.json()
        assert len(page) <= 4
        found += [(each["topic"], each["offset"], each["event"]["topic"]) for each in page]
        link = next_link(response)
        target = "" if link is None else str(link)
    assert found == [(topic, offset, topic) for topic in "ab" for offset in (1, 2, 3)]
    assert len(await dead(client)) == 6
    # The events themselves stay.
    assert len(await get_json(client, "/events", topic="a", after=0)) == 3


async def test_dead_letters_are_retried(client: Client) -> None:
    await fill(client, 4)
    await make(client, max_deliveries=2)
    await kill(client, 1, 2, 4)
    assert counts(await look(client)) == [0, 3, 0, 1]
    body = {"offsets": [["orders", 2, 4], ["nothing", 1, 5]]}
    assert await send(client, "dead/retry", body) == {"retried": 2, "left": 0}
    again = await lease(client)
    assert (offsets_of(again), deliveries_of(again)) == ([2, 3, 4], [1, 1, 1])
    await settle(client, again, release=[["orders", 2, 4]])
    assert await send(client, "dead/retry", {"all": True}) == {"retried": 1, "left": 0}
    assert await send(client, "dead/retry", {"all": True}) == {"retried": 0, "left": 0}
    assert counts(await look(client)) == [0, 0, 0, 4]
    assert await dead(client) == []


async def test_a_dead_letter_is_dropped(client: Client) -> None:
    await fill(client, 2)
    await make(client)
    await kill(client, 1)
    path = "/subscriptions/billing/dead/orders"
    assert (await client.delete(f"{path}/1")).status == 204
    for other in (f"{path}/1", f"{path}/2", f"{path}/x", "/subscriptions/none/dead/orders/1"):
        await expect_problem(await client.delete(other), 404)
    assert counts(await look(client)) == [1, 0, 0, 1]
    assert await dead(client) == []


async def test_a_topic_with_a_dead_letter_may_stop(client: Client) -> None:
    await fill(client, 3, "orders", "other")
    await make(client, "orders", "other", on_dead="pause")
    leased = await lease(client, 1)
    ((topic, offset),) = events_of(leased)
    await settle(client, leased, dead=[{"topic": topic, "offset": offset}])
    rest = await lease(client)
    assert {name for name, _ in events_of(rest)} == {"orders", "other"} - {topic}
    await settle(client, rest, release=[[events_of(rest)[0][0], 1, 3]])
    assert (await client.delete(f"/subscriptions/billing/dead/{topic}/1")).status == 204
    assert len(events_of(await lease(client))) == 5


async def test_so_many_dead_in_a_row_pause_all_of_it(client: Client) -> None:
    await fill(client, 9)
    await make(client, stop_after_dead=3, order="none")
    leased = await lease(client)

    async def die(*offsets: int, **parts: Any) -> str:
        letters = [{"topic": "orders", "offset": offset} for offset in offsets]
        await settle(client, leased, dead=letters, **parts)
        state: str = (await look(client))["state"]
        return state

    assert await die(1, 2) == "active"
    # The acks of a settle are counted first.
    assert await die(3, 4, ack=[["orders", 5, 5]]) == "active"
    assert await die(6) == "paused"
    assert (await look(client))["reason"]
    assert (await lease(client))["lease"] is None
    resumed = await send(client, "resume")
    assert (resumed["state"], resumed["reason"]) == ("active", None)
    assert await die(7, 8) == "active"
    assert counts(await look(client)) == [1, 7, 1, 0]


async def test_the_same_death_is_told_once(client: Client) -> None:
    await fill(client, 2)
    await make(client, stop_after_dead=2, order="none")
    leased = await lease(client)
    for _ in range(3):
        await settle(client, leased, dead=[{"topic": "orders", "offset": 1}])
    assert ((await look(client))["state"], counts(await look(client))) == ("active", [0, 1, 1, 0])
    looks = [dead(client) for _ in range(3)]
    assert [len(found) for found in await asyncio.gather(*looks)] == [1, 1, 1]

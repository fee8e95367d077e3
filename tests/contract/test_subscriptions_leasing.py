"""Leases: what is handed out, to how many, in which order; what is waited for."""

import asyncio

import pytest
from support.backends import Database
from support.http import Client, MakeClient
from support.metrics import Scraped
from support.sockets import connect
from support.subscribing import (
    ack_all,
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
from support.talking import get_json
from support.tasks import StartSoon
from support.waiting import held

from aggregator.app import DRAIN


async def test_a_lease_hands_out_events_as_they_are_read(client: Client) -> None:
    await fill(client, 3)
    await make(client)
    leased = await lease(client, 2)
    assert set(leased) == {"lease", "expires_at", "expires_in_ms", "deliveries", "lag"}
    events = await get_json(client, "/events", topic="orders", after=0)
    expected = [{"delivery": 1, "event": event} for event in events[:2]]
    assert leased["deliveries"] == expected
    assert 0 < leased["expires_in_ms"] <= 30_000
    assert leased["lag"]["events"] == 3
    assert counts(await look(client)) == [0, 0, 2, 1]
    # The order of the topic is kept: nobody gets what is behind.
    nothing = await lease(client, consumer="other")
    assert (nothing["lease"], nothing["expires_at"], nothing["expires_in_ms"]) == (None, None, None)
    assert nothing["lag"]["events"] == 3
    await ack_all(client, leased)
    assert offsets_of(await lease(client)) == [3]


async def test_without_an_order_consumers_compete(client: Client) -> None:
    await fill(client, 4)
    await make(client, order="none")
    one, other = await lease(client, 2), await lease(client, 2, consumer="other")
    assert (offsets_of(one), offsets_of(other)) == ([1, 2], [3, 4])
    await settle(client, one, release=[["orders", 1, 1]], ack=[["orders", 2, 2]])
    await fill(client, 1)
    # What was handed back comes before what is new.
    again = await lease(client, 1)
    assert (offsets_of(again), deliveries_of(again)) == ([1], [1])
    assert offsets_of(await lease(client)) == [5]
    assert counts(await look(client)) == [1, 0, 4, 0]


async def test_topics_take_turns_and_a_lease_has_32_at_most(client: Client) -> None:
    await fill(client, 2, *[f"t.{number}" for number in range(33)])
    await make(client, "t.*")
    first = await lease(client, 10_000)
    topics = {topic for topic, _ in events_of(first)}
    assert len(topics) == 32
    for topic in topics:
        assert [offset for name, offset in events_of(first) if name == topic] == [1, 2]
    second = await lease(client)
    assert len({topic for topic, _ in events_of(second)} | topics) == 33
    assert len(events_of(second)) == 2
    await ack_all(client, first)
    await ack_all(client, second)
    await fill(client, 2, "t.5", "t.7")
    turns = []
    for _ in range(2):
        leased = await lease(client, 1)
        turns += events_of(leased)
        await ack_all(client, leased)
    assert len({topic for topic, _ in turns}) == 2


async def test_a_lease_ends_behind_8_mib(client: Client) -> None:
    await fill(client, 10, payload={"text": "x" * 1_000_000})
    await make(client)
    leased = await lease(client)
    assert offsets_of(leased) == list(range(1, 10))
    assert counts(await look(client)) == [0, 0, 9, 1]
    await ack_all(client, leased)
    rest = await lease(client)
    assert (offsets_of(rest), deliveries_of(rest)) == ([10], [1])


async def test_no_more_than_max_leased_are_leased(client: Client) -> None:
    await fill(client, 5)
    await make(client, order="none", max_leased=3)
    one = await lease(client, 2)
    two = await lease(client, 2)
    assert (offsets_of(one), offsets_of(two), offsets_of(await lease(client))) == ([1, 2], [3], [])
    # What is to come again counts, too: nothing new while it waits.
    await settle(client, one, retry=[{"topic": "orders", "offset": 1, "after_ms": 60_000}])
    assert offsets_of(await lease(client)) == []
    await ack_all(client, two)
    assert offsets_of(await lease(client)) == [4]


async def test_a_lease_that_runs_out_comes_again_in_smaller_ones(client: Client) -> None:
    await fill(client, 20)
    await make(client, lease_ms=1000, max_deliveries=3)
    lost = await lease(client, 20)
    again = await lease(client, wait_ms=20_000)
    assert (offsets_of(again), deliveries_of(again)) == ([1, 2], [2, 2])
    problem = await refused(
        client, "settle", {"lease": lost["lease"], "ack": [["orders", 1, 20]]}, 409
    )
    assert problem["code"] == "lease_lost"
    await settle(client, again, ack=[["orders", 1, 1]], release=[["orders", 2, 2]])
    # Handed out twice, and once more before it is dead by count: alone. Not counted: released.
    seen = await look(client)
    assert counts(seen) == [1, 0, 0, 19]
    assert seen["redelivered"] == 1


async def test_a_lease_is_extended_and_never_cut(client: Client) -> None:
    await fill(client, 1)
    await make(client, lease_ms=20_000)
    leased = await lease(client)
    longer = await settle(client, leased, extend_ms=40_000)
    assert longer["expires_in_ms"] > 39_000
    assert longer["expires_at"] > leased["expires_at"]
    assert (await settle(client, leased, extend_ms=1000))["expires_at"] == longer["expires_at"]
    assert counts(await look(client)) == [0, 0, 1, 0]


@pytest.mark.parametrize("order", ["topic", "none"])
async def test_a_lease_waits_for_what_comes(
    client: Client, start_soon: StartSoon, order: str
) -> None:
    await make(client, "orders", "new.*", order=order)
    for topic in ("orders", "orders", "new.1"):
        waiting = start_soon(lease(client, wait_ms=60_000))
        await held(client, 1)
        await fill(client, 1, topic)
        leased = await waiting
        assert len(events_of(leased)) == 1
        await ack_all(client, leased)
    # A settle and a resume let something come, too.
    await fill(client, 1)
    leased = await lease(client)
    waiting = start_soon(lease(client, wait_ms=60_000))
    await held(client, 1)
    await settle(client, leased, release=[["orders", 3, 3]])
    again = await waiting
    assert (offsets_of(again), deliveries_of(again)) == ([3], [1])
    await send(client, "pause")
    await settle(client, again, retry=[{"topic": "orders", "offset": 3, "after_ms": 0}])
    waiting = start_soon(lease(client, wait_ms=60_000))
    await held(client, 1)
    await send(client, "resume")
    assert deliveries_of(await waiting) == [2]


async def test_a_wait_takes_no_slot_of_reads_and_has_its_bound(
    make_client: MakeClient, start_soon: StartSoon
) -> None:
    client = await make_client(max_waits=2, max_reads=1)
    await make(client)
    waiting = [start_soon(lease(client, wait_ms=60_000)) for _ in range(2)]
    await held(client, 2)
    await look(client)
    problem = await refused(client, "lease", {"consumer": "w", "wait_ms": 1000}, 503)
    assert "2 " in problem["detail"]
    # One that does not wait is answered.
    assert (await lease(client))["lease"] is None
    assert client.app is not None
    await client.app[DRAIN]()
    for each in waiting:
        answer = await each
        assert (answer["lease"], answer["deliveries"]) == (None, [])


async def test_a_wait_ends_with_its_time(client: Client) -> None:
    await make(client)
    answer = await lease(client, wait_ms=50)
    assert (answer["lease"], answer["lag"]) == (None, {"events": 0, "seconds": 0})


async def test_what_another_aggregator_does_is_noticed(
    make_client: MakeClient, database: Database, start_soon: StartSoon
) -> None:
    one, other = await make_client(), await make_client(database.store())
    await make(one)
    await fill(one, 1)
    leased = await lease(one)
    waiting = start_soon(lease(other, wait_ms=60_000))
    await held(other, 1)
    # The lease of one is settled by the other, and the next is waited for there.
    await settle(other, leased, ack=[["orders", 1, 1]])
    await fill(one, 1)
    assert offsets_of(await waiting) == [2]
    assert counts(await look(one)) == counts(await look(other)) == [1, 0, 1, 0]


async def test_a_client_that_goes_while_it_waits_takes_nothing(
    client: Client, start_soon: StartSoon
) -> None:
    await make(client)
    waiting = start_soon(lease(client, wait_ms=60_000))
    await held(client, 1)
    waiting.cancel()
    await held(client, 0)
    await fill(client, 1)
    assert deliveries_of(await lease(client)) == [1]


async def test_a_lease_whose_answer_is_not_taken_is_released(client: Client) -> None:
    await fill(client, 9, payload={"text": "x" * 1_000_000})
    await make(client)
    body = b'{"consumer": "w"}'
    head = b"POST /subscriptions/billing/lease HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    _, writer = await connect(client)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(head % len(body) + body)
    await shown(client, leased=9, waiting=0)
    # All of it is more than the kernel holds for a connection.
    writer.transport.abort()
    await shown(client, leased=0, waiting=9)
    again = await lease(client)
    assert (offsets_of(again), set(deliveries_of(again))) == (list(range(1, 10)), {1})
    page = await (await client.get("/metrics")).text()
    assert Scraped(page).value("aggregator_unwritten_leases_total") == 1


async def shown(client: Client, **expected: int) -> None:
    """Return once a subscription has these counts."""
    async with asyncio.timeout(30):
        while True:
            seen = await look(client)
            if {name: seen[name] for name in expected} == expected:
                return

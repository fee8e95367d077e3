"""Subscriptions over two aggregators on one database: it is the database that keeps them."""

import asyncio
from collections.abc import Callable

import pytest
from support.backends import Database
from support.load import session
from support.processes import Aggregator
from support.remote_subscription import RemoteSubscription
from support.subscribing import counts, deliveries_of, offsets_of

Run = Callable[..., Aggregator]


@pytest.fixture
async def pair(run_aggregator: Run, database: Database) -> list[Aggregator]:
    """Two aggregators on one database."""
    starts = [asyncio.to_thread(run_aggregator, *database.arguments()) for _ in range(2)]
    return await asyncio.gather(*starts)


async def test_what_one_aggregator_does_holds_at_the_other_and_wakes_its_consumers(
    pair: list[Aggregator],
) -> None:
    async with session() as client:
        one = RemoteSubscription(client, pair[0].url)
        other = one.through(pair[1].url)
        await one.fill(6)
        await one.make(backoff_ms=[0])
        lease = await one.lease()
        # Settled, and the same again, through either of them.
        settle = {"ack": [["orders", 1, 2]], "extend_ms": 60_000}
        settled = await other.settle(lease, **settle)
        again = await one.settle(lease, **settle)
        assert settled["acknowledged"] == again["acknowledged"] == 2
        assert settled["expires_in_ms"] == again["expires_in_ms"] == 60_000
        assert counts(await one.look()) == counts(await other.look()) == [2, 0, 4, 0]

        waiting = asyncio.create_task(one.lease(wait_ms=60_000))
        await one.until_waited_for(1)
        await other.settle(lease, retry=[{"topic": "orders", "offset": 3}])
        lease = await waiting
        assert (offsets_of(lease), deliveries_of(lease)) == ([3, 4, 5, 6], [2, 1, 1, 1])
        await other.settle(lease, ack=[["orders", 3, 6]])

        waiting = asyncio.create_task(one.lease(wait_ms=60_000))
        await one.until_waited_for(1)
        await other.fill(1)
        assert offsets_of(await waiting) == [7]


async def test_leases_of_a_killed_aggregator_hold_until_they_run_out_and_come_again_elsewhere(
    pair: list[Aggregator],
) -> None:
    async with session() as client:
        one = RemoteSubscription(client, pair[0].url)
        other = one.through(pair[1].url)
        await one.fill(20)
        await one.fill(5, "visits")
        await one.make("orders", lease_ms=600_000)
        kept, lost = await one.lease(10), RemoteSubscription(client, pair[0].url, "watch")
        await lost.make("visits", lease_ms=1_000)
        assert offsets_of(await lost.lease()) == [1, 2, 3, 4, 5]
        await asyncio.to_thread(pair[0].kill)

        # As long as it has not run out, it is held, and is as good as ever.
        assert offsets_of(await other.lease()) == []
        settled = await other.settle(kept, ack=[["orders", 1, 9]], extend_ms=43_200_000)
        assert settled["acknowledged"] == 9
        assert counts(await other.look()) == [9, 0, 1, 10]

        lost = lost.through(pair[1].url)
        again = await lost.lease(wait_ms=60_000)
        assert (offsets_of(again), deliveries_of(again)) == ([1], [2])

"""SIGTERM while consumers lease: who waits is answered, and no lease is left without a holder."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.backends import Database
from support.load import CUT_OFF, session, until
from support.processes import Aggregator
from support.remote_subscription import RemoteSubscription
from support.subscribing import counts

Run = Callable[..., Aggregator]

_NOTHING: dict[str, Any] = {
    "lease": None,
    "expires_at": None,
    "expires_in_ms": None,
    "deliveries": [],
}


async def test_consumers_that_wait_are_answered_with_nothing_when_the_signal_comes(
    run_aggregator: Run, tmp_path: Path
) -> None:
    aggregator = run_aggregator("--database", str(tmp_path / "events.db"))
    async with session() as client:
        subscription = RemoteSubscription(client, aggregator.url)
        await subscription.make()
        waiting = [asyncio.create_task(subscription.lease(wait_ms=60_000)) for _ in range(20)]
        await subscription.until_waited_for(20)
        assert await asyncio.to_thread(aggregator.stop) == 0
        lag = {"events": 0, "seconds": 0}
        assert await asyncio.gather(*waiting) == [_NOTHING | {"lag": lag}] * 20
    assert b"Traceback" not in aggregator.written()


async def test_leases_given_when_the_signal_comes_are_answered_or_released(
    run_aggregator: Run, database: Database
) -> None:
    aggregator = run_aggregator(*database.arguments())
    held: list[int] = []

    async def consume(subscription: RemoteSubscription) -> None:
        while True:
            try:
                lease = await subscription.lease(3)
            except (*CUT_OFF, AssertionError):
                return
            held.append(len(lease["deliveries"]))

    async with session() as client:
        subscription = RemoteSubscription(client, aggregator.url)
        for _ in range(2):
            await subscription.fill(4_500)
        await subscription.make(order="none", lease_ms=600_000)
        consumers = [asyncio.create_task(consume(subscription)) for _ in range(8)]
        await until(lambda: len(held) > 20)
        assert await asyncio.to_thread(aggregator.stop) == 0
        await asyncio.gather(*consumers)

        again = await asyncio.to_thread(run_aggregator, *database.arguments())
        left = 9_000 - sum(held)
        assert counts(await subscription.through(again.url).look()) == [0, 0, sum(held), left]
        assert left > 0
    assert b"Traceback" not in aggregator.written()

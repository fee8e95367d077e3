"""More load than can be taken, against the real process: refused in order, nothing lost."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from support.backends import Database
from support.load import Told, batch_of, check_kept, publish_until_taken, session
from support.open_loop import Figures, open_loop
from support.overloading import Bodies, address, pinned_apart
from support.processes import Aggregator
from support.sluggish import BOUND_MIB, most_memory_mib

Run = Callable[..., Aggregator]

TOPICS = ["auth", "orders", "payment"]
BOUND = ["--queue-max-events", "400", "--max-batch-events", "100", "--flush-max-events", "100"]


async def test_under_overload_answers_are_200_or_503_and_in_the_end_all_is_stored(
    run_aggregator: Run, database: Database
) -> None:
    aggregator = run_aggregator(*database.arguments(), *BOUND)
    told = Told()

    async def publisher(name: int) -> None:
        for number in range(3):
            batch = batch_of(TOPICS[name % 3], (f"p{name}-{number}-{i}" for i in range(100)))
            await publish_until_taken(client, aggregator.url, batch, told)

    async with session() as client:
        await asyncio.gather(*map(publisher, range(40)))
        stored, stats = await check_kept(client, aggregator.url, told, TOPICS)
        assert len(stored) == 40 * 3 * 100
        # Refused means not stored: nothing came twice.
        assert told.refused
        assert not told.unanswered
        assert stats["received"] == told.received == len(stored)
    assert not aggregator.log_lines("request_failed")


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc"
)
async def test_a_storm_of_requests_is_answered_with_200_or_503_and_memory_stays_bounded(
    run_aggregator: Run, database: Database
) -> None:
    aggregator = run_aggregator(*database.arguments(), *BOUND)
    figures = await open_loop(
        address(aggregator), Bodies("storm", 100), rate=3000, connections=500, duration_s=2
    )
    assert set(figures.statuses) == {200, 503}
    assert figures.without_retry_after == 0
    told = Told()
    async with session() as client:
        await publish_until_taken(client, aggregator.url, batch_of("after", ["e-1"]), told)
        _, stats = await check_kept(client, aggregator.url, told, ["after"])
    assert stats["topics"]["storm"]["received"] == 100 * figures.statuses[200]
    assert most_memory_mib(aggregator) < BOUND_MIB


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("batch", [1, 100])
async def test_throughput_does_not_collapse_at_three_times_the_peak(
    run_aggregator: Run, database: Database, batch: int
) -> None:
    aggregator = run_aggregator(*database.arguments())
    with pinned_apart(aggregator):

        async def load(name: str, rate: float, connections: int) -> Figures:
            return await open_loop(
                address(aggregator),
                Bodies(name, batch),
                rate=rate,
                connections=connections,
                duration_s=5,
            )

        await load("warm", float("inf"), 50)
        # A neighbour on the machine may take from either: the best of five counts.
        shares: list[float] = []
        for turn in range(5):
            peak = await load(f"peak-{turn}", float("inf"), 50)
            over = await load(f"over-{turn}", 3 * peak.accepted_per_s, 2000)
            assert set(over.statuses) <= {200, 503}
            shares.append(over.accepted_per_s / peak.accepted_per_s)
            if shares[-1] >= 0.8:
                break
    assert max(shares) >= 0.8, shares

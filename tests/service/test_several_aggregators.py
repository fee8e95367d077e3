"""Two aggregators on one database, under publishers that send the same ids in other orders."""

import asyncio
import random
from collections.abc import Callable

import aiohttp
import pytest
from support.backends import Database, PostgresServer
from support.events import published
from support.load import (
    Batch,
    Told,
    check_conservation,
    check_kept,
    get_json,
    publish_until_taken,
    session,
)
from support.processes import Aggregator

Run = Callable[..., Aggregator]

TOPICS = ["alpha", "beta", "gamma"]
IDS = 2_000
PUBLISHERS = 16
BATCHES = 10
BATCH_EVENTS = 50


def batches_of(seed: int) -> list[Batch]:
    """What one publisher sends: ids that the others send too, in an order of its own."""
    chance = random.Random(seed)
    numbers = [chance.randrange(IDS) for _ in range(BATCHES * BATCH_EVENTS)]
    events = [
        published(topic=TOPICS[number % len(TOPICS)], event_id=f"e-{number}") for number in numbers
    ]
    return [events[n : n + BATCH_EVENTS] for n in range(0, len(events), BATCH_EVENTS)]


async def publish_all(
    client: aiohttp.ClientSession, urls: list[str], seed: int, told: Told
) -> None:
    for number, batch in enumerate(batches_of(seed)):
        await publish_until_taken(client, urls[(seed + number) % len(urls)], batch, told)


async def sample_stats(client: aiohttp.ClientSession, url: str, samples: list[int]) -> None:
    """Check every answer of /stats, and that no count ever falls, until cancelled."""
    while True:
        stats = await get_json(client, f"{url}/stats")
        check_conservation(stats)
        assert not samples or stats["received"] >= samples[-1]
        samples.append(stats["received"])


async def test_the_same_ids_through_two_aggregators_are_stored_once_and_counted_exactly(
    run_aggregator: Run, database: Database
) -> None:
    # Started together on an empty database: the schema is created once.
    started = [asyncio.to_thread(run_aggregator, *database.arguments()) for _ in range(2)]
    urls = [aggregator.url for aggregator in await asyncio.gather(*started)]
    told = Told()
    samples: list[list[int]] = [[], []]
    async with session() as client:
        samplers = [
            asyncio.create_task(sample_stats(client, url, seen))
            for url, seen in zip(urls, samples, strict=True)
        ]
        await asyncio.gather(*(publish_all(client, urls, seed, told) for seed in range(PUBLISHERS)))
        for sampler in samplers:
            sampler.cancel()
        ended = await asyncio.gather(*samplers, return_exceptions=True)
        assert [type(end) for end in ended] == [asyncio.CancelledError] * 2, ended
        assert all(len(set(seen)) > 2 for seen in samples), "sampled too rarely to tell anything"

        for url in urls:
            stored, stats = await check_kept(client, url, told, TOPICS)
            assert set(stored) == set(told.offsets)
            assert stats["unique_processed"] == len(told.offsets)
            assert stats["conflicts"] == 0
            refused = sum(len(batch) for batch in told.uncertain)
            assert told.received == PUBLISHERS * BATCHES * BATCH_EVENTS
            assert told.received <= stats["received"] <= told.received + refused


@pytest.mark.parametrize("backend", ["postgres"])
async def test_topics_in_other_orders_through_two_aggregators_do_not_deadlock(
    run_aggregator: Run, database: Database, postgres_server: PostgresServer
) -> None:
    if postgres_server.data is None:
        pytest.skip("the log of this server is not ours to read")
    log = postgres_server.data / "log"
    before = log.read_bytes().count(b"deadlock detected")
    # A transaction for each request, and long enough for two to meet.
    arguments = [*database.arguments(), "--flush-max-events", "1"]
    urls = [run_aggregator(*arguments).url for _ in range(2)]
    topics = [f"topic-{number}" for number in range(150)]
    told = Told()

    async def publish_shuffled(client: aiohttp.ClientSession, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(8):
            order = chance.sample(topics, len(topics))
            batch = [published(topic=t, event_id=f"e-{chance.randrange(9)}") for t in order]
            await publish_until_taken(client, urls[seed % 2], batch, told)

    async with session() as client:
        await asyncio.gather(*(publish_shuffled(client, seed) for seed in range(PUBLISHERS)))
        stored, _ = await check_kept(client, urls[0], told, topics)
    assert set(stored) == set(told.offsets)
    assert told.uncertain == []
    assert log.read_bytes().count(b"deadlock detected") == before

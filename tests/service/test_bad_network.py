"""Publishers behind a network that misbehaves for real: every event arrives once."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from support.backends import Database
from support.bad_network import BadNetwork, Mischief
from support.load import check_conservation, get_json, read_log, session
from support.processes import Aggregator

from publisher import Event, Limits, Publisher, RetryPolicy, Verdict, publish

Run = Callable[..., Aggregator]

# Small batches, so that much can happen to them; an answer that does not come is soon missed.
LIMITS = Limits(max_batch_events=10, linger_ms=1, max_pending_events=100)
POLICY = RetryPolicy(first_wait_s=0.001, max_wait_s=0.02, deadline_s=90, attempt_timeout_s=0.3)


def events_of(publisher: str, count: int, topic: str = "orders") -> list[Event]:
    """What one publisher sends; half of the payloads are JSON text."""
    return [
        Event(
            topic,
            {"number": number} if number % 2 else b'{"number": %d.0}' % number,
            source=publisher,
            event_id=f"{publisher}-{number}",
            timestamp=f"2026-01-31T12:00:00.{number:06}Z",
        )
        for number in range(count)
    ]


async def check_log(
    url: str, published: Sequence[Event], outcomes: Iterable[object], topic: str = "orders"
) -> list[dict[str, Any]]:
    """The log has what was published, each event once and where its publisher was told."""
    verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
    assert len(verdicts) == len(published)
    async with session() as client:
        log = await read_log(client, url, topic)
        stats = await get_json(client, f"{url}/stats")
    assert [stored["offset"] for stored in log] == list(range(1, len(log) + 1))
    stored_at = {stored["event_id"]: stored for stored in log}
    assert len(log) == len(stored_at) == len(published)
    for event, verdict in zip(published, verdicts, strict=True):
        stored = stored_at[event.event_id]
        number = int(event.event_id.rpartition("-")[2])
        assert stored["payload"] == {"number": number}
        assert stored["source"] == event.source
        assert stored["timestamp"] == event.timestamp
        assert (verdict.topic, verdict.event_id) == (topic, event.event_id)
        assert verdict.offset == stored["offset"]
        assert verdict.status != "conflict"
    check_conservation(stats)
    counts = stats["topics"][topic]
    assert counts["unique_processed"] == len(published)
    assert counts["conflicts"] == 0
    # Answers were lost, and the tries after them found the events stored.
    assert counts["duplicate_dropped"] >= sum(v.status == "duplicate" for v in verdicts) > 0
    return log


async def test_every_event_of_several_publishers_arrives_once(
    run_aggregator: Run, database: Database
) -> None:
    url = run_aggregator(*database.arguments()).url

    async def publish_all(network: str, events: list[Event]) -> list[Verdict]:
        async with Publisher(
            network, limits=LIMITS, policy=POLICY, on_retry=lambda _: None
        ) as publisher:
            return await asyncio.gather(*(publisher.publish(event) for event in events))

    shares = [events_of(f"publisher{number}", 300) for number in range(4)]
    async with BadNetwork.before(url, seed=1) as network:
        outcomes = await asyncio.gather(*(publish_all(network.url, share) for share in shares))
    network.check_each_was_done()
    await check_log(url, [*chain(*shares)], chain(*outcomes))


async def test_an_ordered_publisher_keeps_its_order(
    run_aggregator: Run, database: Database
) -> None:
    url = run_aggregator(*database.arguments()).url
    events = events_of("publisher", 300)
    async with (
        BadNetwork.before(url, seed=2) as network,
        Publisher(
            network.url, limits=LIMITS, policy=POLICY, ordered=True, on_retry=lambda _: None
        ) as publisher,
    ):
        verdicts = [await publisher.submit(event) for event in events]
    network.check_each_was_done()
    log = await check_log(url, events, [verdict.result() for verdict in verdicts])
    assert [stored["event_id"] for stored in log] == [event.event_id for event in events]


async def test_every_event_of_the_plain_function_arrives_once(
    run_aggregator: Run, database: Database
) -> None:
    url = run_aggregator(*database.arguments()).url
    events = events_of("plain", 400)
    async with BadNetwork.before(url, seed=3) as network:
        outcomes = await asyncio.to_thread(
            publish, network.url, iter(events), limits=LIMITS, policy=POLICY
        )
    network.check_each_was_done()
    assert network.did[Mischief.CUT_BEFORE_ANSWER] > 1
    await check_log(url, events, outcomes)

"""The k6 script against real aggregators: what it sends, what it proves, what it notices."""

import asyncio
import json
import math
import socket
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from support.backends import Database
from support.k6 import FAILED, Forward, RunK6, in_between
from support.load import (
    check_conservation,
    get_json,
    publish_to_topics,
    read_log,
    session,
)
from support.processes import Aggregator

pytestmark = pytest.mark.k6

Run = Callable[..., Aggregator]
Answer = dict[str, Any]

TOPICS = ["auth", "orders", "payment"]


def sums(events: int, batch: int, share: float) -> tuple[int, int]:
    """How many events the script sends, and how many of them are new."""
    total = math.ceil(events / batch) * batch
    return total, total - math.ceil(total * share)


async def check_stored(url: str, topics: list[str], run: str, unique: int) -> Answer:
    """The log holds each new event of the run once, and nothing else; gives /stats."""
    async with session() as client:
        stats: Answer = await get_json(client, f"{url}/stats")
        logs = {topic: await read_log(client, url, topic) for topic in topics}
    check_conservation(stats)
    assert stats["unique_processed"] == unique
    assert stats["conflicts"] == 0
    for index, topic in enumerate(topics):
        numbers = sorted(event["payload"]["number"] for event in logs[topic])
        assert numbers == list(range(index + 1, unique + 1, len(topics)))
        assert {event["event_id"] for event in logs[topic]} == {f"{run}-e-{n}" for n in numbers}
        assert stats["topics"].get(topic, {"head_offset": 0})["head_offset"] == len(numbers)
    return stats


async def test_20_000_events_with_30_percent_duplicates_are_counted_exactly(
    run_aggregator: Run, database: Database, run_k6: RunK6
) -> None:
    url = run_aggregator(*database.arguments()).url
    ended = await run_k6(url, RUN="first")
    assert ended.code == 0, ended.output
    total, unique = 20_000, 14_000
    stats = await check_stored(url, TOPICS, "first", unique)
    assert ended.count("publish_retries") == 0
    assert stats["received"] == total == ended.count("events_published")
    assert stats["duplicate_dropped"] == total - unique == ended.count("duplicates_dropped")

    # What was there before does not count, and runs without a name have one each.
    for runs in (2, 3):
        again = await run_k6(url)
        assert again.code == 0, again.output
        async with session() as client:
            stats = await get_json(client, f"{url}/stats")
        assert stats["unique_processed"] == runs * unique
        assert stats["received"] == runs * total


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_topics_that_one_answer_does_not_list_are_asked_for(
    run_aggregator: Run, database: Database, run_k6: RunK6
) -> None:
    url = run_aggregator(*database.arguments()).url
    async with session() as client:
        await publish_to_topics(client, url, 1_001)
    for topics in ("auth,orders", "auth,0-1", "auth,0-7"):
        ended = await run_k6(url, EVENTS=500, BATCH=50, TOPICS=topics)
        assert ended.code == 0, ended.output
        assert ended.count("topics_conserved") == 2


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    ("events", "batch", "share", "topics"),
    [
        (1001, 7, 0.5, ["one"]),
        (400, 1, 0.9, ["a", "b", "c"]),
        (1, 10, 0.85, ["a", "b", "c"]),
        (3000, 1000, 0, ["a.b", "c_d-e"]),
        (5000, 33, 0.3333, TOPICS),
    ],
)
async def test_any_size_and_share_is_known_exactly(
    run_aggregator: Run,
    database: Database,
    run_k6: RunK6,
    events: int,
    batch: int,
    share: float,
    topics: list[str],
) -> None:
    url = run_aggregator(*database.arguments()).url
    ended = await run_k6(
        url, EVENTS=events, BATCH=batch, DUPLICATES=share, TOPICS=",".join(topics), RUN="r"
    )
    assert ended.code == 0, ended.output
    total, unique = sums(events, batch, share)
    assert total - unique >= share * total
    stats = await check_stored(url, topics, "r", unique)
    assert stats["received"] == total


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_an_event_is_repeated_as_it_was_in_its_own_request_and_in_others(
    run_aggregator: Run, database: Database, run_k6: RunK6
) -> None:
    requests: list[list[Answer]] = []

    async def note(request: web.Request, forward: Forward) -> web.StreamResponse:
        if request.path == "/publish":
            requests.append(json.loads(await request.read()))
        return web.json_response(await forward())

    async with in_between(run_aggregator(*database.arguments()).url, note) as url:
        ended = await run_k6(url, EVENTS=4000, BATCH=50)
    assert ended.code == 0, ended.output
    assert [len(events) for events in requests] == [50] * 80
    content: dict[tuple[str, str], Answer] = {}
    within = across = 0
    for events in requests:
        of_request = set()
        for event in events:
            key = (event["topic"], event["event_id"])
            within += key in of_request
            across += key in content and key not in of_request
            of_request.add(key)
            assert content.setdefault(key, event)["payload"] == event["payload"]
    assert len(content) == 2_800
    assert within + across == 1_200
    assert min(within, across) >= 400


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def test_an_aggregator_killed_and_started_again_loses_and_doubles_nothing(
    run_aggregator: Run, database: Database, run_k6: RunK6
) -> None:
    arguments = [*database.arguments(), "--port", str(free_port())]
    aggregator = run_aggregator(*arguments)
    url = aggregator.url
    running = asyncio.create_task(run_k6(url, EVENTS=60_000, BATCH=50, RUN="killed"))
    async with session() as client:
        while (await get_json(client, f"{url}/stats"))["received"] < 5_000:
            assert not running.done(), running.result().output
    aggregator.kill()
    assert not running.done(), running.result().output
    restarted = await asyncio.to_thread(run_aggregator, *arguments)
    assert restarted.url == url
    ended = await running
    assert ended.code == 0, ended.output
    assert ended.count("publish_retries") > 0
    total, unique = sums(60_000, 50, 0.3)
    stats = await check_stored(url, TOPICS, "killed", unique)
    assert ended.count("events_published") == total <= stats["received"]
    # Each try under way at the kill may have been counted without having been answered.
    assert stats["received"] <= total + 50 * ended.count("publish_retries")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"EVENTS": "many"}, "EVENTS must be a whole number from 1 to 10000000, not 'many'"),
        ({"EVENTS": ""}, "EVENTS must be a whole number from 1 to 10000000, not ''"),
        ({"BATCH": "10001"}, "BATCH must be a whole number from 1 to 10000, not '10001'"),
        ({"DUPLICATES": "30%"}, "DUPLICATES must be a number from 0 to 1, not '30%'"),
        ({"DUPLICATES": "1"}, "DUPLICATES leaves no new event among 20000: choose less"),
        ({"TOPICS": "a,b c"}, "TOPICS must be names of 1 to 249 characters of"),
        ({"TOPICS": "a,a"}, "TOPICS must not name a topic twice: 'a,a'"),
        ({"URL": "localhost:8080"}, "URL must be an http or https URL without ? and #, not"),
    ],
)
async def test_what_cannot_be_run_is_refused_in_a_sentence(
    run_k6: RunK6, variables: dict[str, str], sentence: str
) -> None:
    ended = await run_k6(**{"url": "http://127.0.0.1:9"} | variables)
    assert ended.code == FAILED
    assert f"Error: {sentence}" in ended.output

"""Counts and answers that lie, and which check of the k6 script notices: each has its own."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from support.backends import Database
from support.k6 import CROSSED, FAILED, Ended, Forward, RunK6, in_between
from support.processes import Aggregator

pytestmark = pytest.mark.k6

Run = Callable[..., Aggregator]
Answer = dict[str, Any]


def a_new_event_called_a_duplicate(stats: Answer) -> None:
    for counts in (stats, stats["topics"]["orders"]):
        counts["unique_processed"] -= 1
        counts["duplicate_dropped"] += 1
    stats["topics"]["orders"]["head_offset"] -= 1


def an_event_dropped_from_the_count(stats: Answer) -> None:
    stats["topics"]["orders"]["received"] -= 1
    stats["received"] -= 1


def a_duplicate_dropped_from_the_count(stats: Answer) -> None:
    for counts in (stats, stats["topics"]["orders"]):
        counts["received"] -= 1
        counts["duplicate_dropped"] -= 1


def an_event_too_many(stats: Answer) -> None:
    for counts in (stats, stats["topics"]["auth"]):
        counts["unique_processed"] += 1
        counts["received"] += 1
    stats["topics"]["auth"]["head_offset"] += 1


def a_gap_before_the_head(stats: Answer) -> None:
    stats["topics"]["payment"]["head_offset"] += 1


def a_conflict(stats: Answer) -> None:
    stats["topics"]["payment"]["conflicts"] += 1
    stats["conflicts"] += 1


def a_topic_missing(stats: Answer) -> None:
    del stats["topics"]["payment"]


def sums_of_something_else(stats: Answer) -> None:
    stats["received"] += 1
    stats["duplicate_dropped"] += 1


GREW_BY_NEW = "stats: unique_processed grew by the new events"
GREW_BY_SENT = "stats: received grew by what was sent"
CONSERVED = "stats: received = unique_processed + duplicate_dropped"
HEAD = "stats: head_offset = unique_processed"
NO_CONFLICT = "stats: conflicts did not grow"
ALL_CONSERVED = "stats: in all, received = unique_processed + duplicate_dropped"
ALL_SUMS = "stats: in all, the counts are the sums of the topics"


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    ("lie", "noticed_by"),
    [
        (a_new_event_called_a_duplicate, {GREW_BY_NEW}),
        (an_event_dropped_from_the_count, {CONSERVED, GREW_BY_SENT, ALL_CONSERVED}),
        (a_duplicate_dropped_from_the_count, {GREW_BY_SENT}),
        (an_event_too_many, {GREW_BY_NEW}),
        (a_gap_before_the_head, {HEAD}),
        (a_conflict, {NO_CONFLICT}),
        (a_topic_missing, {GREW_BY_NEW, GREW_BY_SENT, ALL_SUMS}),
        (sums_of_something_else, {ALL_SUMS}),
    ],
)
async def test_counts_that_lie_at_the_end_are_noticed(
    run_aggregator: Run,
    database: Database,
    run_k6: RunK6,
    lie: Callable[[Answer], None],
    noticed_by: set[str],
) -> None:
    ended = await run_with_stats_of(lie, run_aggregator(*database.arguments()).url, run_k6)
    assert ended.code == CROSSED, ended.output
    assert set(ended.failed) == noticed_by
    assert ended.count("events_published") == 500


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_without_counts_at_the_end_the_run_fails(
    run_aggregator: Run, database: Database, run_k6: RunK6
) -> None:
    ended = await run_with_stats_of(dict.clear, run_aggregator(*database.arguments()).url, run_k6)
    assert ended.code == FAILED, ended.output
    assert "/stats gives no counts: status 200, {}" in ended.output
    assert ended.count("events_published") == 500


async def run_with_stats_of(lie: Callable[[Answer], None], target: str, run_k6: RunK6) -> Ended:
    """Publish truthfully; what /stats answers afterwards is what the lie makes of it."""
    published = False

    async def tell(request: web.Request, forward: Forward) -> web.StreamResponse:
        nonlocal published
        answer = await forward()
        if request.path == "/publish":
            published = True
        elif published:
            lie(answer)
        return web.json_response(answer)

    async with in_between(target, tell) as url:
        return await run_k6(url, EVENTS=500, BATCH=50)


def one_received_less(answer: Answer) -> None:
    answer["received"] -= 1
    answer["duplicate_dropped"] -= 1


def counts_that_do_not_add_up(answer: Answer) -> None:
    answer["duplicate_dropped"] += 1


def a_verdict_missing(answer: Answer) -> None:
    # A duplicate: a new one would also be missing in the counts.
    statuses = [result["status"] for result in answer["results"]]
    del answer["results"][statuses.index("duplicate")]


def verdicts_of_other_events(answer: Answer) -> None:
    answer["results"].reverse()


def an_unknown_verdict(answer: Answer) -> None:
    duplicates = [result for result in answer["results"] if result["status"] == "duplicate"]
    duplicates[0]["status"] = "seen"


def counts_of_other_verdicts(answer: Answer) -> None:
    answer["unique_processed"] -= 1
    answer["duplicate_dropped"] += 1


def an_event_in_conflict(answer: Answer) -> None:
    answer["conflicts"] += 1
    duplicates = [result for result in answer["results"] if result["status"] == "duplicate"]
    duplicates[0]["status"] = "conflict"


RECEIVED = "publish: received is what was sent"
ADDS_UP = "publish: received = unique_processed + duplicate_dropped"
VERDICTS = "publish: each event has its verdict"
COUNTED = "publish: the counts are those of the verdicts"
CONFLICT = "publish: no event is in conflict"


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    ("lie", "noticed_by"),
    [
        (one_received_less, {RECEIVED}),
        (counts_that_do_not_add_up, {ADDS_UP}),
        (a_verdict_missing, {VERDICTS}),
        (verdicts_of_other_events, {VERDICTS}),
        (an_unknown_verdict, {VERDICTS}),
        (counts_of_other_verdicts, {COUNTED}),
        (an_event_in_conflict, {CONFLICT}),
        (dict.clear, {RECEIVED, ADDS_UP, VERDICTS, COUNTED, CONFLICT}),
    ],
)
async def test_an_answer_that_lies_is_noticed(
    run_aggregator: Run,
    database: Database,
    run_k6: RunK6,
    lie: Callable[[Answer], None],
    noticed_by: set[str],
) -> None:
    told = False

    async def tell(request: web.Request, forward: Forward) -> web.StreamResponse:
        nonlocal told
        answer = await forward()
        if request.path == "/publish" and not told:
            told = True
            lie(answer)
        return web.json_response(answer)

    async with in_between(run_aggregator(*database.arguments()).url, tell) as url:
        ended = await run_k6(url, EVENTS=500, BATCH=50)
    assert ended.code == CROSSED, ended.output
    assert ended.failed == dict.fromkeys(noticed_by, 1)
    assert ended.count("events_published") == 450
    assert ended.count("topics_conserved") == 3


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_a_request_that_is_acknowledged_and_lost_is_noticed(
    run_aggregator: Run, database: Database, run_k6: RunK6
) -> None:
    lost = False

    async def lose(request: web.Request, forward: Forward) -> web.StreamResponse:
        nonlocal lost
        if request.path != "/publish" or lost:
            return web.json_response(await forward())
        lost = True
        events = json.loads(await request.read())
        results = [
            {"topic": e["topic"], "event_id": e["event_id"], "status": "duplicate", "offset": 1}
            for e in events
        ]
        return web.json_response(
            {"received": len(events), "unique_processed": 0, "duplicate_dropped": len(events),
             "conflicts": 0, "results": results}
        )  # fmt: skip

    async with in_between(run_aggregator(*database.arguments()).url, lose) as url:
        ended = await run_k6(url, EVENTS=500, BATCH=50)
    assert ended.code == CROSSED, ended.output
    assert set(ended.failed) == {GREW_BY_NEW, GREW_BY_SENT}
    assert ended.count("events_published") == 500

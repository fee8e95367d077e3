"""What an aggregator says that is not so, the load generator's command finds out."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from support.load import session
from support.load_command import Ended, load
from support.proxy import Forward, InTheWay, proxy


def changing(path: str, change: Callable[[Any], None]) -> InTheWay:
    """Changes what the aggregator answers there."""

    async def answer(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        response = await forward()
        if request.path != path or response.status != 200:
            return response
        assert isinstance(response.body, bytes)
        content = json.loads(response.body)
        change(content)
        response.body = json.dumps(content, ensure_ascii=False).encode()
        return response

    return answer


async def found_out(url: str, tmp_path: Path, lie: InTheWay) -> Ended:
    """Run against an aggregator behind a proxy that lies; it must be noticed."""
    async with proxy(url, lie) as front:
        ended = await load(
            front, tmp_path, "--events", "600", "--batch", "20", "--conflicts", "0.1"
        )
    assert ended.status == 1, ended
    assert ended.report["agrees"] is False
    for difference in ended.report["differences"]:
        assert f"- {difference['sentence']}\n" in ended.out
    assert re.fullmatch(
        r"python -m publisher load: (1 difference was|\d+ differences were) found\n", ended.err
    )
    return ended


async def test_an_event_that_is_left_out_of_the_log_is_found_out(url: str, tmp_path: Path) -> None:
    left_out: list[Any] = []

    # The text of the payloads must stay as it is: JSON that is parsed and written again is not.
    def cut(text: str) -> str:
        events = re.split(r"(?<=Z\"\}),(?=\{\"topic\")", text[1:-1])
        left_out.append(json.loads(events.pop(7)))
        return "[" + ",".join(events) + "]"

    async def lie(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        response = await forward()
        if request.path == "/events" and not left_out:
            assert isinstance(response.body, bytes)
            response.body = cut(response.body.decode()).encode()
        return response

    ended = await found_out(url, tmp_path, lie)
    gone = left_out[0]
    assert [difference["sentence"] for difference in ended.report["differences"]] == [
        (
            f"the log of topic {gone['topic']!r} has no event at offset {gone['offset']} "
            f"(the first is event {gone['event_id']!r})"
        )
    ]


async def test_a_count_that_is_off_by_one_is_found_out(url: str, tmp_path: Path) -> None:
    def add_one(stats: Any) -> None:
        if stats["received"]:
            for counts in (stats, stats["topics"]["orders"]):
                counts["received"] += 1
                counts["duplicate_dropped"] += 1

    ended = await found_out(url, tmp_path, changing("/stats", add_one))
    sentences = [difference["sentence"] for difference in ended.report["differences"]]
    assert "received of all topics together rose by 601, expected 600" in sentences
    assert len(sentences) == 2
    assert all("✗" not in line or "the counts rose" in line for line in ended.out.splitlines())


def while_sending(change: Callable[[web.Response], None]) -> InTheWay:
    """Changes what /stats answers between the first publish and the last, of 60."""
    publishes: list[int] = []

    async def answer(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        response = await forward()
        if request.path == "/publish":
            publishes.append(1)
        elif request.path == "/stats" and 0 < len(publishes) < 60:
            change(response)
        return response

    return answer


async def test_counts_that_are_off_on_the_way_alone_are_found_out(url: str, tmp_path: Path) -> None:
    def take_one(response: web.Response) -> None:
        assert isinstance(response.body, bytes)
        content = json.loads(response.body)
        content["duplicate_dropped"] -= 1
        response.body = json.dumps(content).encode()

    async with proxy(url, while_sending(take_one)) as front:
        ended = await load(front, tmp_path, "--events", "600", "--batch", "10", "--rate", "300")
    assert ended.status == 1
    checks = ended.report["checks"]
    assert checks["stats_seen"] > 0
    assert sum(checks.values()) == checks["stats_seen"]
    assert "in an answer of /stats duplicate_dropped, the sum of all topics, is" in ended.out


async def test_stats_that_are_not_answered_on_the_way_are_counted(url: str, tmp_path: Path) -> None:
    async with proxy(url, while_sending(lambda response: response.set_status(503))) as front:
        ended = await load(front, tmp_path, "--events", "600", "--batch", "10", "--rate", "300")
    assert ended.status == 0
    assert ended.report["stats_missed"] >= 1
    assert ended.report["stats_seen"] == 2
    assert "checked 2 times, " in ended.out


async def test_a_conflict_that_is_called_a_duplicate_is_found_out(url: str, tmp_path: Path) -> None:
    def call_it_a_duplicate(answer: Any) -> None:
        for result in answer["results"]:
            if result["status"] == "conflict":
                result["status"] = "duplicate"
                answer["conflicts"] -= 1

    ended = await found_out(url, tmp_path, changing("/publish", call_it_a_duplicate))
    assert ended.report["differences_total"] == 60
    assert len(ended.report["differences"]) == 20
    assert "- and 40 more" in ended.out
    assert "got duplicate, expected conflict" in ended.report["differences"][0]["sentence"]


async def test_payloads_that_were_written_anew_are_found_out(url: str, tmp_path: Path) -> None:
    ended = await found_out(url, tmp_path, changing("/events", lambda _: None))
    assert ended.report["checks"]["log"] == ended.report["differences_total"] > 20
    assert "has payload" in ended.report["differences"][0]["sentence"]


async def test_somebody_else_on_the_same_topics_is_found_out(url: str, tmp_path: Path) -> None:
    published: list[int] = []

    async def meddle(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        if request.path == "/publish" and not published:
            published.append(1)
            event = {
                "topic": "auth",
                "event_id": "mine",
                "timestamp": "2026-01-31T12:00:00Z",
                "source": "somebody else",
                "payload": {},
            }
            async with session() as client, client.post(f"{url}/publish", json=event) as answer:
                assert answer.status == 200
        return await forward()

    ended = await found_out(url, tmp_path, meddle)
    assert "the log of topic 'auth' has event 'mine' at offset" in ended.out
    assert "received of all topics together rose by 601, expected 600" in ended.out

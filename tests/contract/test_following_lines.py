"""NDJSON that goes on: `follow=true`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from support.events import published
from support.http import Client, MakeClient
from support.lines import ACCEPT_LINES
from support.talking import expect_problem, publish, read_all

_LIMIT_S = 30.0


@asynccontextmanager
async def following(client: Client, **parameters: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    """An answer that goes on; `from_="start"` is the parameter `from`."""
    query = {name.rstrip("_"): str(value) for name, value in parameters.items()}
    async with client.get(
        "/events", params={"follow": "true", **query}, headers=ACCEPT_LINES
    ) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/x-ndjson"
        yield response


async def lines(response: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    """The next so many events."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(_LIMIT_S):
        while len(found) < count:
            line = await response.content.readline()
            assert line, "the end"
            if line != b"\n":
                found.append(json.loads(line))
    return found


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"from_": "start"}, [1, 2, 3, 4]),
        ({"after": 2}, [3, 4]),
        ({"last": 1}, [3, 4]),
        ({"from_": "now"}, [4]),
        ({"since": "1h"}, [1, 2, 3, 4]),
        ({"source": "rare"}, [2, 4]),
    ],
    ids=str,
)
async def test_it_begins_where_it_is_told_and_goes_on(
    client: Client, beginning: dict[str, Any], expected: list[int]
) -> None:
    await publish(client, [published(source=source) for source in ("a", "rare", "b")])
    async with following(client, topic="orders", **beginning) as response:
        assert response.headers["Log-Head"] == "3"
        assert response.headers["Cache-Control"] == "no-store"
        await publish(client, published(source="rare"))
        found = await lines(response, len(expected))
    assert [event["offset"] for event in found] == expected
    events = await read_all(client, topic="orders", after=0)
    assert found == [event for event in events if event["offset"] in expected]


async def test_silence_is_broken_by_a_blank_line(make_client: MakeClient) -> None:
    client = await make_client(stream_heartbeat_ms=20)
    await publish(client, published())
    async with following(client, topic="orders") as response, asyncio.timeout(_LIMIT_S):
        (first,) = await lines(response, 1)
        assert first["offset"] == 1
        assert [await response.content.readline() for _ in range(3)] == [b"\n"] * 3
        await publish(client, published())
        assert [event["offset"] for event in await lines(response, 1)] == [2]


async def test_a_life_ends_whole_and_nothing_is_missed(make_client: MakeClient) -> None:
    client = await make_client(stream_lifetime_ms=100)
    await publish(client, [published() for _ in range(5)])
    found: list[int] = []
    while len(found) < 5:
        async with following(client, topic="orders", after=len(found)) as response:
            async with asyncio.timeout(_LIMIT_S):
                body = await response.content.read()
        found += [json.loads(line)["offset"] for line in body.splitlines() if line]
    assert found == [1, 2, 3, 4, 5]


async def test_a_gap_ends_it_without_its_last_chunk(client: Client) -> None:
    await publish(client, published())
    async with following(client, topic="orders", after=7) as response:
        assert response.headers["Log-Head"] == "1"
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


WRONG = [
    ("topic=a&follow=false", "follow"),
    ("topic=a&follow=1", "follow"),
    ("topic=a&topic=b&follow=true", "topic"),
    ("topic=a.*&follow=true", "topic"),
    ("follow=true", "topic"),
    ("topic=a&follow=true&limit=5", "limit"),
    ("topic=a&follow=true&until=1h", "until"),
    ("topic=a&follow=true&order=desc", "order"),
    ("topic=a&follow=true&after=1&last=5", "last"),
]


async def test_what_will_never_work_is_refused(client: Client) -> None:
    for query, field in WRONG:
        response = await client.get(f"/events?{query}", headers=ACCEPT_LINES)
        problem = await expect_problem(response, 422)
        assert [error["field"] for error in problem["errors"]] == [field], (query, problem)


async def test_pages_know_no_follow(client: Client) -> None:
    await expect_problem(await client.get("/events?topic=a&follow=true"), 422)


async def test_what_cannot_be_served_now_is_a_503(make_client: MakeClient) -> None:
    client = await make_client(max_streams=1)
    async with following(client, topic="orders"):
        response = await client.get("/events?topic=a&follow=true", headers=ACCEPT_LINES)
        await expect_problem(response, 503)

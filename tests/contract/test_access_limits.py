"""The limits of entries: events and bytes a second, streams, subscriptions, new topics a day."""

import asyncio
import gzip
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.access import TokensFile, bearer
from support.events import published
from support.http import Client, MakeClient

from aggregator.app import TOKENS
from publisher.client import Publisher
from publisher.events import Event
from publisher.retry import Retry

# The way that a publish comes has nothing to do with the database.
pytestmark = pytest.mark.at_length("postgres-off")

STREAM = {"Accept": "text/event-stream"}
LINES = {"Accept": "application/x-ndjson"}
FOLLOW = "/events?topic=orders&follow=true"


@pytest.fixture(params=["auto", "off"])
def fast_path(request: pytest.FixtureRequest) -> str:
    """Both ways that a publish can come."""
    way: str = request.param
    return way


@pytest.fixture
def tokens(tmp_path: Path) -> TokensFile:
    return TokensFile(tmp_path / "tokens.toml")


def events(count: int, topic: str = "orders") -> list[dict[str, object]]:
    return [published(topic=topic) for _ in range(count)]


async def publish(
    client: Client, token: str, sent: object, **headers: str
) -> tuple[int, Any, "aiohttp.ClientResponse"]:
    headers = bearer(token) | {name.replace("_", "-"): each for name, each in headers.items()}
    async with client.post("/publish", json=sent, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None), answer


async def stored(client: Client, admin: str) -> int:
    async with client.get("/stats", headers=bearer(admin)) as answer:
        count: int = (await answer.json())["unique_processed"]
        return count


async def followed_after(refused: int, client: Client, token: str) -> int:
    """The status of lines that follow, once it is not that of a refusal any more."""
    async with asyncio.timeout(30):
        while True:
            answer = await client.get(FOLLOW, headers=bearer(token) | LINES)
            answer.close()
            if answer.status != refused:
                return answer.status
            await asyncio.sleep(0.01)


async def reload(client: Client) -> None:
    watch = client.app[TOKENS]
    assert watch is not None
    await watch.look(at_once=True)


async def test_events_over_the_limit_are_429_and_nothing_is_stored(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    shop = tokens.give("shop", publish=["orders"], events_per_second=1)
    other = tokens.give("other", publish=["orders"], events_per_second=1)
    admin = tokens.give("admin", admin=True)
    client = await make_client(tokens=tokens.path)
    # Larger than the bucket: it is taken, and leaves it in debt for half a minute.
    status, _, answer = await publish(client, shop, events(30))
    assert (status, "RateLimit" in answer.headers) == (200, False)
    status, problem, answer = await publish(client, shop, events(1))
    assert (status, answer.content_type) == (429, "application/problem+json")
    assert (problem["status"], problem["title"]) == (429, "Too Many Requests")
    assert "'shop' is over its limit of 1 events a second" in problem["detail"]
    seconds = int(answer.headers["Retry-After"])
    assert 1 <= seconds <= 30
    assert answer.headers["RateLimit"] == f'"events";r=0;t={seconds}'
    assert answer.headers["RateLimit-Policy"] == '"events";q=1;w=1'
    assert (await publish(client, shop, events(1), Prefer="handling=lenient"))[0] == 429
    assert await stored(client, admin) == 30
    assert (await publish(client, other, events(1)))[0] == 200


async def test_bytes_over_the_limit_are_429_counted_after_decompression(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    shop = tokens.give("shop", publish=["orders"], bytes_per_second=100)
    client = await make_client(tokens=tokens.path)
    body = json.dumps(published(topic="orders", payload={"text": "x" * 10_000})).encode()
    headers = bearer(shop) | {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with client.post("/publish", data=gzip.compress(body), headers=headers) as answer:
        assert answer.status == 200
    status, _, answer = await publish(client, shop, events(1))
    assert status == 429
    assert answer.headers["RateLimit-Policy"] == '"bytes";q=100;qu="content-bytes";w=1'
    # Not what was sent, which is over in seconds.
    assert 60 < int(answer.headers["Retry-After"]) <= 110


async def test_what_is_invalid_or_forbidden_is_told_before_the_limit_and_does_not_count(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    shop = tokens.give("shop", publish=["orders"], events_per_second=1)
    client = await make_client(tokens=tokens.path)
    for _ in range(3):
        assert (await publish(client, shop, events(50, "payments")))[0] == 403
        assert (await publish(client, shop, [*events(50), {}]))[0] == 422
    assert (await publish(client, shop, events(30)))[0] == 200
    assert (await publish(client, shop, events(1, "payments")))[0] == 403
    assert (await publish(client, shop, [{}]))[0] == 422
    assert (await publish(client, shop, events(1)))[0] == 429


async def test_events_that_are_rejected_leniently_count(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    shop = tokens.give("shop", publish=["orders"], events_per_second=1)
    client = await make_client(tokens=tokens.path)
    sent: list[dict[str, object]] = [{}] * 15 + events(15, "payments")
    assert (await publish(client, shop, sent, Prefer="handling=lenient"))[0] == 200
    _, _, answer = await publish(client, shop, events(1))
    assert answer.status == 429


async def test_a_limit_that_is_taken_back_counts_no_more(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    shop = tokens.give("shop", publish=["orders"], events_per_second=1)
    client = await make_client(tokens=tokens.path)
    await publish(client, shop, events(100))
    assert (await publish(client, shop, events(1)))[0] == 429
    tokens.give("shop", publish=["orders"], events_per_second=1000)
    await reload(client)
    _, _, answer = await publish(client, shop, events(1))
    assert answer.headers["RateLimit-Policy"] == '"events";q=1000;w=1'
    tokens.give("shop", publish=["orders"])
    await reload(client)
    assert (await publish(client, shop, events(1)))[0] == 200


async def test_publisher_waits_as_it_is_told_and_all_is_stored_once(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    admin = tokens.give("admin", admin=True)
    with tokens.path.open("a") as file:
        file.write('[[entry]]\nname = "anonymous"\npublish = ["orders"]\nevents_per_second = 2\n')
    client = await make_client(tokens=tokens.path)
    assert (await client.post("/publish", json=events(4))).status == 200
    retries: list[Retry] = []
    async with Publisher(str(client.make_url("")), on_retry=retries.append) as publisher:
        await publisher.publish(Event("orders", {"n": 1}, "shop"))
    # Sooner it would be refused again.
    assert len(retries) == 1
    assert "429" in str(retries[0])
    assert await stored(client, admin) == 5


async def test_streams_over_the_limit_are_unavailable_until_one_ends(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    reader = tokens.give("reader", read=["orders"], streams=1)
    other = tokens.give("other", read=["orders"], streams=1)
    client = await make_client(tokens=tokens.path)
    opened = await client.get("/events?topic=orders", headers=bearer(reader) | STREAM)
    await opened.content.readuntil(b"event: caught-up")
    async with client.get("/events?topic=orders", headers=bearer(reader) | STREAM) as answer:
        text = await answer.text()
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
    assert "event: unavailable\n" in text
    assert "'reader' has 1 streams open, and may have 1" in text
    async with client.get(FOLLOW, headers=bearer(reader) | LINES) as answer:
        assert answer.status == 429
        assert re.fullmatch("[1-9]", answer.headers["Retry-After"])
        policy = '"streams";q=1;qu="concurrent-requests"'
        assert answer.headers["RateLimit-Policy"] == policy
    async with client.get("/events?topic=orders", headers=bearer(reader) | LINES) as answer:
        assert answer.status == 200  # it does not follow
    others = await client.get(FOLLOW, headers=bearer(other) | LINES)
    assert others.status == 200
    others.close()
    opened.close()
    assert await followed_after(429, client, reader) == 200


async def test_streams_that_can_not_begin_do_not_count(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    reader = tokens.give("reader", read=["orders"], streams=1)
    client = await make_client(tokens=tokens.path, max_streams=1)
    admin = tokens.give("admin", admin=True)
    await reload(client)
    holds = await client.get(FOLLOW, headers=bearer(admin) | LINES)
    for _ in range(3):
        async with client.get(FOLLOW, headers=bearer(reader) | LINES) as answer:
            assert answer.status == 503
    holds.close()
    assert await followed_after(503, client, reader) == 200


async def test_subscriptions_over_the_limit_are_422(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    rights = {"subscribe": ["mine.*"], "read": ["orders"]}
    shop = tokens.give("shop", **rights, subscriptions=2)
    admin = tokens.give("admin", admin=True)
    client = await make_client(tokens=tokens.path)

    async def put(name: str, token: str = shop) -> tuple[int, str]:
        body = {"topics": ["orders"]}
        path = f"/subscriptions/{name}"
        async with client.put(path, json=body, headers=bearer(token)) as answer:
            return answer.status, await answer.text()

    assert (await put("other", admin))[0] == 201
    assert (await put("mine.b", admin))[0] == 201
    both = await asyncio.gather(put("mine.a"), put("mine.c"))
    assert sorted(status for status, _ in both) == [201, 422]
    (refused,) = (text for status, text in both if status == 422)
    assert "'shop' may have 2 subscriptions, and as many are there" in refused
    assert (await put("mine.b"))[0] == 200  # it is there
    async with client.delete("/subscriptions/mine.b", headers=bearer(shop)) as answer:
        assert answer.status == 204
    assert (await put("mine.d"))[0] == 201
    assert (await put("mine.e"))[0] == 422
    tokens.give("shop", **rights, subscriptions=0)
    await reload(client)
    assert (await put("mine.d"))[0] == 200
    assert (await put("mine.e"))[0] == 422


async def test_new_topics_over_the_limit_are_429_and_those_that_are_there_are_not_counted(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    shop = tokens.give("shop", publish=["**"], new_topics_per_day=2)
    admin = tokens.give("admin", admin=True)
    client = await make_client(tokens=tokens.path)
    assert (await publish(client, admin, events(1, "there")))[0] == 200
    for _ in range(3):
        sent = [*events(2, "there"), *events(2, "a"), *events(1, "b")]
        assert (await publish(client, shop, sent))[0] == 200
    status, problem, answer = await publish(client, shop, [*events(1, "c"), *events(1, "a")])
    assert status == 429
    assert "'shop' is over its limit of 2 new topics a day" in problem["detail"]
    assert 43_000 < int(answer.headers["Retry-After"]) <= 43_200
    assert answer.headers["RateLimit-Policy"] == '"new-topics";q=2;w=86400'
    assert await stored(client, admin) == 16
    assert (await publish(client, admin, events(1, "c")))[0] == 200
    assert (await publish(client, shop, events(1, "c")))[0] == 200


async def test_new_topics_over_the_limit_are_rejected_leniently(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    shop = tokens.give("shop", publish=["**"], new_topics_per_day=2)
    client = await make_client(tokens=tokens.path)
    sent = [*events(1, "a"), {}, *events(1, "b"), *events(2, "c"), *events(1, "a")]
    status, told, _ = await publish(client, shop, sent, Prefer="handling=lenient")
    assert status == 200
    assert [each["status"] for each in told["results"]] == [
        "stored", "rejected", "stored", "rejected", "rejected", "stored"
    ]  # fmt: skip
    assert "'shop' is over its limit of 2 new topics a day" in json.dumps(told)


async def test_more_new_topics_than_the_limit_are_taken_once_and_then_waited_for(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    shop = tokens.give("shop", publish=["**"], new_topics_per_day=1)
    client = await make_client(tokens=tokens.path)
    sent = [each for name in "abcd" for each in events(1, name)]
    assert (await publish(client, shop, sent))[0] == 200
    _, _, answer = await publish(client, shop, events(1, "e"))
    assert int(answer.headers["Retry-After"]) > 3 * 86_400


async def test_who_may_make_no_topics_is_403_for_a_new_one(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    shop = tokens.give("shop", publish=["**"], new_topics_per_day=0)
    admin = tokens.give("admin", admin=True)
    client = await make_client(tokens=tokens.path)
    await publish(client, admin, events(1, "there"))
    assert (await publish(client, shop, events(1, "there")))[0] == 200
    status, problem, _ = await publish(client, shop, [*events(1, "there"), *events(1, "a")])
    assert status == 403
    (error,) = problem["errors"]
    assert (error["index"], error["field"]) == (1, "topic")
    assert "'shop' may make none" in error["message"]


async def test_a_topic_that_several_publishes_make_at_once_counts_once(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    shop = tokens.give("shop", publish=["**"], new_topics_per_day=1)
    client = await make_client(tokens=tokens.path)
    answers = await asyncio.gather(*[publish(client, shop, events(1, "a")) for _ in range(8)])
    assert [status for status, _, _ in answers] == [200] * 8
    several = [publish(client, shop, events(1, name)) for name in "bcd"]
    assert [status for status, _, _ in await asyncio.gather(*several)] == [429] * 3

"""What a credential has begun ends soon after it is removed, narrowed, or has run out."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from support.access import TokensFile, bearer
from support.events import published
from support.http import Client, MakeClient
from support.load import until

from aggregator.app import TOKENS
from aggregator.http import revocation

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TokensFile:
    monkeypatch.setattr(revocation, "_INTERVAL_S", 0.02)
    return TokensFile(tmp_path / "tokens.toml")


async def reload(client: Client) -> None:
    watch = client.app[TOKENS]
    assert watch is not None
    await watch.look(at_once=True)


async def rest_of(answer: aiohttp.ClientResponse) -> str:
    async with asyncio.timeout(30):
        return (await answer.content.read()).decode()


async def opened(client: Client, token: str, query: str = "topic=orders") -> aiohttp.ClientResponse:
    answer = await client.get(f"/events?{query}", headers=bearer(token) | STREAM)
    assert answer.status == 200
    await answer.content.readuntil(b"event: caught-up")
    return answer


@pytest.mark.parametrize("query", ["topic=orders", "topic=orders&topic=payments", "topic=**"])
async def test_a_stream_ends_when_its_token_is_removed(
    make_client: MakeClient, tokens: TokensFile, query: str
) -> None:
    reader = tokens.give("reader", read=["**"])
    client = await make_client(tokens=tokens.path)
    answer = await opened(client, reader, query)
    tokens.take_away("reader")
    await reload(client)
    rest = await rest_of(answer)
    assert 'event: unavailable\ndata: {"reason":"credential"}\n' in rest
    async with client.get("/events?topic=orders", headers=bearer(reader)) as again:
        assert again.status == 401


@pytest.mark.parametrize("query", ["topic=orders", "topic=orders&topic=payments", "topic=**"])
async def test_a_stream_ends_when_its_rights_shrink_below_what_it_follows(
    make_client: MakeClient, tokens: TokensFile, query: str
) -> None:
    reader = tokens.give("reader", admin=True)
    client = await make_client(tokens=tokens.path)
    answer = await opened(client, reader, query)
    tokens.give("reader", read=["payments"])
    await reload(client)
    assert '"reason":"credential"' in await rest_of(answer)


async def test_a_stream_goes_on_when_other_entries_change(
    make_client: MakeClient, tokens: TokensFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    look = revocation.Revocation.look

    def counted(watching: revocation.Revocation) -> None:
        look(watching)
        looks.append(None)

    monkeypatch.setattr(revocation.Revocation, "look", counted)
    reader = tokens.give("reader", read=["orders"])
    writer = tokens.give("writer", publish=["orders"])
    client = await make_client(tokens=tokens.path)
    answer = await opened(client, reader)
    tokens.give("other", read=["x"])
    tokens.give("reader", read=["orders", "payments"])
    await reload(client)
    seen = len(looks)
    await until(lambda: len(looks) >= seen + 2)
    await client.post("/publish", json=published(topic="orders"), headers=bearer(writer))
    async with asyncio.timeout(30):
        assert b'"event_id"' in await answer.content.readuntil(b'"event_id"')
    answer.close()


async def test_a_stream_ends_when_its_token_runs_out(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=1)
    reader = tokens.give("reader", read=["orders"], expires=ends.isoformat())
    client = await make_client(tokens=tokens.path)
    answer = await opened(client, reader)
    assert '"reason":"credential"' in await rest_of(answer)


async def test_lines_that_follow_end_too(make_client: MakeClient, tokens: TokensFile) -> None:
    reader = tokens.give("reader", read=["orders"])
    client = await make_client(tokens=tokens.path)
    headers = bearer(reader) | {"Accept": "application/x-ndjson"}
    answer = await client.get("/events?topic=orders&follow=true", headers=headers)
    tokens.take_away("reader")
    await reload(client)
    await rest_of(answer)


async def test_patterns_of_a_stream_stand_for_the_topics_that_may_be_read(
    make_client: MakeClient, tokens: TokensFile
) -> None:
    reader = tokens.give("reader", read=["orders.*"])
    writer = bearer(tokens.give("writer", publish=["**"]))
    client = await make_client(tokens=tokens.path)
    for topic in ("orders.a", "payments.a"):
        await client.post("/publish", json=published(topic=topic), headers=writer)
    answer = await opened(client, reader, "topic=*.*&from=start")
    for topic in ("payments.b", "orders.b"):
        await client.post("/publish", json=published(topic=topic), headers=writer)
    async with asyncio.timeout(30):
        told = (await answer.content.readuntil(b'"topic":"orders.b"')).decode()
    assert "payments" not in told
    answer.close()
    async with client.get("/events?topic=payments.a", headers=bearer(reader) | STREAM) as refused:
        assert refused.status == 403

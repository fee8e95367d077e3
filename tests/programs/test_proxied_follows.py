"""Following the log through nginx and HAProxy as documented: at once, in silence, and cut off."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientResponse, ClientSession
from aiohttp.test_utils import unused_port
from support.events import published
from support.load import session, until_answer
from support.processes import Aggregator
from support.proxies import proxied

Run = Callable[..., Aggregator]

BLOCKS = {"Accept": "text/event-stream"}
LINES = {"Accept": "application/x-ndjson"}
TARGET = "events?topic=orders&from=start"
LIMIT_S = 30.0
UNAVAILABLE = """retry: 1000
event: unavailable
data: {"reason":"no aggregator answers"}

"""

KINDS = ["nginx", "haproxy"]


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with asyncio.timeout(LIMIT_S), session() as client:
        yield client


async def publish(client: ClientSession, url: str, *event_ids: str) -> None:
    events = [published(event_id=event_id) for event_id in event_ids]
    async with client.post(f"{url}/publish", json=events) as response:
        assert response.status == 200


@asynccontextmanager
async def following(
    client: ClientSession, url: str, headers: dict[str, str] = BLOCKS
) -> AsyncIterator[ClientResponse]:
    """The answer to who follows the topic from its start, or from the id of an event."""
    async with client.get(f"{url}/{TARGET}", headers=headers) as response:
        assert response.status == 200
        yield response


async def line_with(response: ClientResponse, text: str) -> list[str]:
    """The lines up to the next one with a text in it."""
    lines = [""]
    while text not in lines[-1]:
        line = await response.content.readline()
        assert line.endswith(b"\n"), f"ended behind {lines}"
        lines.append(line.decode().removesuffix("\n"))
    return lines


@pytest.mark.parametrize("kind", KINDS)
async def test_a_silent_stream_outlives_the_patience_and_gives_an_event_at_once(
    kind: str, client: ClientSession, run_aggregator: Run, tmp_path: Path
) -> None:
    aggregator = run_aggregator("--stream-heartbeat-ms", "100")
    with proxied(kind, aggregator.url, tmp_path, patience="1500ms") as url:
        # nginx compresses this one, and would hold it.
        async with following(client, url, BLOCKS | {"Accept-Encoding": "gzip"}) as blocks:
            target = f"{url}/{TARGET}&follow=true"
            async with client.get(target, headers=LINES) as lines:
                coded = blocks.headers.get("Content-Encoding", "identity")
                assert coded == {"nginx": "gzip", "haproxy": "identity"}[kind]
                for _ in range(20):
                    await line_with(blocks, ":")
                for event_id in ("e-1", "e-2"):
                    await publish(client, aggregator.url, event_id)
                    for response in (blocks, lines):
                        await line_with(response, f'"event_id":"{event_id}"')
        # Their places are free again once their client has gone.
        none_is_left = "aggregator_following_streams 0.0"
        await until_answer(client, f"{aggregator.url}/metrics", 200, none_is_left)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_that_the_proxy_cuts_goes_on_behind_the_last_id(
    kind: str, client: ClientSession, run_aggregator: Run, tmp_path: Path
) -> None:
    aggregator = run_aggregator("--stream-heartbeat-ms", "60000")
    seen: dict[str, str] = {}

    async def follow_to_the_end(url: str) -> None:
        position = {"Last-Event-ID": next(reversed(seen))} if seen else {}
        async with following(client, url, BLOCKS | position) as response:
            async for line in response.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "id":
                    offset = value
                elif value.startswith('{"topic"'):
                    assert offset not in seen
                    seen[offset] = json.loads(value)["event_id"]

    with proxied(kind, aggregator.url, tmp_path, patience="700ms") as url:
        for number in range(2):
            await publish(client, aggregator.url, f"e-{2 * number}", f"e-{2 * number + 1}")
            with pytest.raises(ClientError):
                await follow_to_the_end(url)
    assert seen == {str(n + 1): f"e-{n}" for n in range(4)}
    assert list(seen) == [str(n + 1) for n in range(4)]


@pytest.mark.parametrize("kind", [*KINDS, "haproxy, several"])
async def test_without_an_aggregator_a_stream_is_told_so_with_status_200(
    kind: str, client: ClientSession, tmp_path: Path
) -> None:
    async def answer(url: str, headers: dict[str, str]) -> tuple[int, str, str]:
        async with client.get(f"{url}/{TARGET}", headers=headers) as response:
            return response.status, response.content_type, await response.text()

    with proxied(kind, f"http://127.0.0.1:{unused_port()}", tmp_path) as url:
        # At once: HAProxy tries for seconds.
        stream, page = await asyncio.gather(answer(url, BLOCKS), answer(url, {}))
    assert stream == (200, "text/event-stream", UNAVAILABLE)
    assert page[:2] == ({"nginx": 502}.get(kind, 503), "text/html")

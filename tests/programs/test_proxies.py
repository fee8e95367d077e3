"""The aggregator behind a path that a real proxy strips: nginx and HAProxy, as documented."""

import gzip
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from support.events import published
from support.load import get_json, read_log, session
from support.load_command import load
from support.processes import Aggregator
from support.programs import program
from support.proxies import proxied
from yarl import URL

Run = Callable[..., Aggregator]

KINDS = ["nginx", "nginx, plain", "haproxy"]
HARD_IDS = [".", "..", "a/b", "/", "//", "%2E", "a b+c&d?#", "é;=", "\\", "../../stats"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def url(kind: str, run_aggregator: Run, tmp_path: Path) -> Iterator[str]:
    """An aggregator behind /log of a proxy."""
    with proxied(kind, run_aggregator().url, tmp_path) as behind:
        yield behind


async def test_load_goes_through_and_pages_lead_on_to_their_end(url: str, tmp_path: Path) -> None:
    # More than one page of each topic.
    ended = await load(url, tmp_path, "--events", "16000", "--topics", "f,g")
    assert ended.status == 0, ended.out + ended.err
    async with session() as client:
        events = await read_log(client, url, "f")
        assert [each["offset"] for each in events] == list(range(1, len(events) + 1))
        assert len(events) > 5000
        async with client.get(f"{url}/events?limit=1") as response:
            assert response.headers["Link"].startswith("<?limit=1&cursor=")


async def publish(client: ClientSession, url: str, data: Any, **headers: str) -> dict[str, Any]:
    headers = {"Content-Type": "application/x-ndjson"} | headers
    async with client.post(f"{url}/publish", data=data, headers=headers) as response:
        answer: dict[str, Any] = await response.json(content_type=None)
        assert response.status == 200, answer
        return answer


def fetched(target: str, *options: str) -> tuple[int, str]:
    """Status and body as curl gets them."""
    command: list[str | Path] = [
        program("curl"),
        "--silent",
        "--write-out",
        "\n%{http_code}",
        *options,
        target,
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


async def test_what_is_published_in_any_form_is_found_again(url: str, kind: str) -> None:
    lines = [json.dumps(published(topic=topic, event_id=event_id)).encode() + b"\n"
             for topic in ("t", "..") for event_id in HARD_IDS]  # fmt: skip

    async def pieces() -> AsyncIterator[bytes]:
        for line in lines:
            yield line

    async with session() as client:
        assert (await publish(client, url, pieces()))["unique_processed"] == len(lines)
        packed = gzip.compress(b"".join(lines))
        again = await publish(client, url, packed, **{"Content-Encoding": "gzip"})
        assert again["duplicate_dropped"] == len(lines)
        for topic in ("t", ".."):
            for event_id in HARD_IDS:
                found = await get_json(client, str(URL(f"{url}/events").with_query(
                    topic=topic, event_id=event_id)))  # fmt: skip
                assert [each["event_id"] for each in found] == [event_id]
    for event_id in HARD_IDS:
        # Also from a client that folds dots in a path.
        status, body = fetched(f"{url}/events?topic=..&event_id={quote(event_id, safe='')}")
        assert (status, json.loads(body)[0]["event_id"]) == (200, event_id)
        by_path = f"{url}/events/t/{quote(event_id, safe='')}"
        status, body = fetched(by_path, "--path-as-is")
        decoded = kind == "nginx, plain" and ("/" in event_id or event_id in {".", ".."})
        if decoded:
            assert '"event_id"' not in body
        else:
            assert (status, json.loads(body)["event_id"]) == (200, event_id)

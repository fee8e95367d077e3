"""Pages, NDJSON and waits read the same log while it is published to, and miss nothing of it.

One client publishes. Meanwhile one follows the topic by pages, one waits for what comes, and others
read all of it as NDJSON, compressed or not. What each of them has is held against the verdicts.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import accumulate
from typing import Any, NamedTuple

import pytest
from aiohttp.test_utils import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import Database
from support.http import Client
from support.observer import Observer
from support.served import Served
from support.talking import publish

from aggregator.app import create_app
from aggregator.settings.model import Settings

_LIMIT_S = 60
_SOURCES = ["web", "shop"]


class Batch(NamedTuple):
    """Events of one publish: topic, id and source of each."""

    events: Sequence[tuple[str, str, str]]


_batches = st.lists(
    st.builds(
        Batch,
        st.lists(
            st.tuples(
                st.sampled_from(["a", "b"]),
                st.integers(0, 40).map(str),
                st.sampled_from(_SOURCES),
            ),
            min_size=1,
            max_size=6,
        ),
    ),
    min_size=1,
    max_size=8,
)


@asynccontextmanager
async def _served(database: Database) -> AsyncIterator[Client]:
    server = Served(create_app(Settings.from_values(database.settings())), fast_path=True)
    client: Client = TestClient(server)
    await server.start_server(auto_decompress=False)
    await client.start_server()
    try:
        yield client
    finally:
        await client.close()


class Log:
    """The topic `a` as the verdicts have it: the id and the source of each offset."""

    def __init__(self) -> None:
        self.events: dict[int, tuple[str, str]] = {}
        self.sources: dict[str, str] = {}

    def add(self, batch: Batch, results: Sequence[dict[str, Any]]) -> None:
        for (topic, event_id, source), result in zip(batch.events, results, strict=True):
            if topic == "a" and result["status"] == "stored":
                self.events[result["offset"]] = (event_id, source)

    def rows(self, source: str | None, head: int | None = None) -> list[tuple[int, str]]:
        """Offset and id of the events up to a head."""
        return [
            (offset, event_id)
            for offset, (event_id, its_source) in sorted(self.events.items())
            if source in {None, its_source} and (head is None or offset <= head)
        ]


def _rows(events: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(event["offset"], event["event_id"]) for event in events]


async def _publish(client: Client, batches: Sequence[Batch], log: Log) -> None:
    for batch in batches:
        events = [
            {
                "topic": topic, "event_id": event_id, "timestamp": "2026-01-31T12:00:00Z",
                "source": source, "payload": {"of": event_id},
            }
            for topic, event_id, source in batch.events
        ]  # fmt: skip
        answer = await publish(client, events)
        log.add(batch, answer["results"])


def _parameters(source: str | None, **more: object) -> dict[str, str]:
    given = {"topic": "a", **({"source": source} if source else {}), **more}
    return {name: str(value) for name, value in given.items()}


async def _follow_by_pages(
    client: Client, source: str | None, limit: int, published: asyncio.Event
) -> list[tuple[int, str]]:
    """Read pages until the last one that began after everything was published."""
    found: list[tuple[int, str]] = []
    after = 0
    while True:
        last = published.is_set()
        target = f"?{_query(_parameters(source, after=after, limit=limit))}"
        while target:
            async with client.get("/events" + target) as response:
                found += _rows(await response.json())
                head = int(response.headers["Log-Head"])
                link = response.headers.get("Link", "")
            target = link[1 : link.index(">")] if link else ""
        # Without a Link, nothing of what passes is left up to the head.
        after = head
        if last:
            return found


def _query(parameters: dict[str, str]) -> str:
    return "&".join(f"{name}={value}" for name, value in parameters.items())


async def _follow_by_waits(
    client: Client, source: str | None, limit: int, published: asyncio.Event, log: Log
) -> list[tuple[int, str]]:
    """Wait for events until all that were published have come."""
    found: list[tuple[int, str]] = []
    after = 0
    while not published.is_set() or len(found) < len(log.rows(source)):
        parameters = _parameters(source, after=after, limit=limit)
        waiting = asyncio.create_task(_wait(client, parameters))
        ended = asyncio.create_task(published.wait())
        await asyncio.wait([waiting, ended], return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if published.is_set() and len(found) == len(log.rows(source)):
            # Nothing more comes; the rest of its time is of no interest.
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            break
        events = await waiting
        assert events, "a wait ended without the event that it was for"
        found += _rows(events)
        after = found[-1][0]
    return found


async def _wait(client: Client, parameters: dict[str, str]) -> list[dict[str, Any]]:
    async with client.get("/events", params=parameters, headers={"Prefer": "wait=60"}) as response:
        assert response.headers["Preference-Applied"] == "wait=60"
        events: list[dict[str, Any]] = await response.json()
        return events


async def _lines(
    client: Client, source: str | None, encoding: str
) -> tuple[list[tuple[int, str]], int]:
    headers = {"Accept": "application/x-ndjson", "Accept-Encoding": encoding}
    async with client.get("/events", params=_parameters(source), headers=headers) as response:
        assert response.status == 200
        text = await response.text()
        head = int(response.headers["Log-Head"])
    return _rows([json.loads(line) for line in text.splitlines()]), head


@pytest.mark.timeout(600)
def test_every_form_of_reading_has_what_was_stored_once_and_in_order(database: Database) -> None:
    @settings(max_examples=settings().max_examples // 4 + 1)
    @given(
        batches=_batches,
        source=st.none() | st.sampled_from(_SOURCES),
        limit=st.integers(1, 7),
        encodings=st.lists(st.sampled_from(["identity", "gzip"]), max_size=3),
    )
    def holds(batches: list[Batch], source: str | None, limit: int, encodings: list[str]) -> None:
        asyncio.run(_hold(database, batches, source, limit, encodings))

    holds()


async def _hold(
    database: Database,
    batches: list[Batch],
    source: str | None,
    limit: int,
    encodings: list[str],
) -> None:
    log, published = Log(), asyncio.Event()
    async with (
        _served(database) as client,
        Observer.on(database) as observer,
        asyncio.timeout(_LIMIT_S),
        asyncio.TaskGroup() as group,
    ):
        await observer.empty()
        by_pages = group.create_task(_follow_by_pages(client, source, limit, published))
        by_waits = group.create_task(_follow_by_waits(client, source, limit, published, log))
        as_lines = [group.create_task(_lines(client, source, each)) for each in encodings]
        await _publish(client, batches, log)
        published.set()
    expected = log.rows(source)
    assert list(log.events) == [*accumulate([1] * len(log.events))]
    assert by_pages.result() == expected
    assert by_waits.result() == expected
    for found, head in (task.result() for task in as_lines):
        assert found == log.rows(source, head)

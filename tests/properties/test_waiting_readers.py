"""Readers that wait get every event once and in order, whichever aggregator stores it when."""

import asyncio
import itertools
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import Database
from support.events import published
from support.http import Client
from support.talking import publish, read_all
from support.waiting import wait

from aggregator.app import create_app
from aggregator.settings.model import Settings
from storage.reading import log_reader

SOURCES = ["common", "rare"]
LIMIT_S = 30.0


class Publish(NamedTuple):
    """The sources of the events of one request, and to which of two aggregators it goes."""

    to: int
    sources: list[str]


class Reader(NamedTuple):
    """A reader that waits for the next page until it has all that its filter passes."""

    at: int
    source: str | None
    limit: int


PUBLISHES = st.builds(
    Publish,
    st.integers(0, 1),
    st.lists(st.sampled_from(SOURCES), min_size=1, max_size=6),
)
READERS = st.builds(
    Reader, st.integers(0, 1), st.sampled_from([None, *SOURCES]), st.sampled_from([1, 2, 100])
)


async def read(client: Client, reader: Reader, topic: str, events: int) -> list[dict[str, Any]]:
    """Read so many events, one page after the other."""
    found: list[dict[str, Any]] = []
    parameters: dict[str, object] = {"topic": topic, "limit": reader.limit}
    if reader.source:
        parameters["source"] = reader.source
    while len(found) < events:
        begin = {"after": found[-1]["offset"]} if found else {"from_": "start"}
        page, _ = await wait(client, **parameters, **begin)
        assert page, "answered with nothing, before its time"
        found += page
    return found


async def publish_one_after_the_other(
    clients: list[Client], publishes: list[Publish], topic: str
) -> None:
    for each in publishes:
        events = [published(topic=topic, source=source) for source in each.sources]
        await publish(clients[each.to], events)


async def check(
    clients: list[Client], first: list[Publish], second: list[Publish], readers: list[Reader],
    topic: str,
) -> None:  # fmt: skip
    """Readers wait while two publishers are at work, of which each goes to both aggregators."""
    sent = [source for each in first + second for source in each.sources]
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        reading = [
            group.create_task(
                read(
                    clients[each.at],
                    each,
                    topic,
                    len(sent) if each.source is None else sent.count(each.source),
                )
            )
            for each in readers
        ]
        for publishes in (first, second):
            group.create_task(publish_one_after_the_other(clients, publishes, topic))
    log = await read_all(clients[0], topic=topic, after=0)
    assert [event["offset"] for event in log] == list(range(1, len(sent) + 1))
    for reader, events in zip(readers, reading, strict=True):
        passing = [event for event in log if reader.source in {None, event["source"]}]
        assert events.result() == passing


async def serve(database: Database, stack: AsyncExitStack) -> list[Client]:
    """Two aggregators on one database."""
    clients: list[Client] = []
    for _ in range(2):
        server = TestServer(create_app(Settings.from_values(database.settings())))
        client: Client = TestClient(server)
        await server.start_server(auto_decompress=False)
        await client.start_server()
        stack.push_async_callback(client.close)
        clients.append(client)
    return clients


@pytest.mark.timeout(1200)
def test_readers_that_wait_get_every_event_once_and_in_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that filters come to the end of a scan.
    monkeypatch.setattr(log_reader, "SCAN_ROWS", 4)
    topics = (f"t-{number}" for number in itertools.count())
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        clients = runner.run(serve(database, stack))

        @settings(max_examples=max(1, settings().max_examples // 5))
        @given(
            st.lists(PUBLISHES, max_size=4),
            st.lists(PUBLISHES, max_size=4),
            st.lists(READERS, min_size=1, max_size=5),
        )
        def holds(first: list[Publish], second: list[Publish], readers: list[Reader]) -> None:
            runner.run(check(clients, first, second, readers, next(topics)))

        try:
            holds()
        finally:
            runner.run(stack.aclose())

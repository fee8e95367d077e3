"""Bounds on waits: their number, their reads, and what ends them all."""

import asyncio
from collections import deque
from typing import Any

import pytest
from support.backends import Database
from support.events import published
from support.http import MakeClient
from support.talking import expect_problem, get_json, publish
from support.tasks import StartSoon
from support.waiting import LONG, GatedReads, ask, held, scrape, wait

from aggregator.app import DRAIN
from aggregator.http import compression
from aggregator.live.shared_reads import MAX_READS
from storage.errors import StorageUnavailable
from storage.model import Query


async def test_waits_take_no_slot_of_reads(
    make_client: MakeClient, start_soon: StartSoon, backend: str
) -> None:
    client = await make_client(max_reads=1, postgres_readers=1)
    waiting = [start_soon(wait(client, topic=f"t-{n}", after=0)) for n in range(10)]
    await held(client, 10)
    assert (await scrape(client)).value("aggregator_reads") == 0
    assert await get_json(client, "/events") == []
    await publish(client, [published(topic=f"t-{n}") for n in range(10)])
    for each in waiting:
        assert len((await each)[0]) == 1
    assert not (await scrape(client)).by("aggregator_refusals_total", "of")


async def test_waits_beyond_the_bound_are_refused(
    make_client: MakeClient, start_soon: StartSoon
) -> None:
    client = await make_client(max_waits=2)
    waiting = [start_soon(wait(client, topic="orders", after=0)) for _ in range(2)]
    await held(client, 2)
    refused = await ask(client, topic="orders", after=0)
    problem = await expect_problem(refused, 503)
    assert problem["detail"].startswith("2 requests that wait are held, as many as may be;")
    # Neither a read without a wait, nor one whose wait does not fit.
    assert await get_json(client, "/events", topic="orders", after=0) == []
    assert (await wait(client, "wait=61", topic="orders", after=0))[0] == []
    await publish(client, published())
    for each in waiting:
        assert len((await each)[0]) == 1
    assert len((await wait(client, topic="orders", after=0))[0]) == 1
    page = await scrape(client)
    assert page.by("aggregator_refusals_total", "of") == {("waits",): 1}
    assert (page.value("aggregator_waits"), page.value("aggregator_waits_limit")) == (0, 2)


async def test_waits_for_the_same_page_are_answered_by_one_read(
    make_client: MakeClient, database: Database, start_soon: StartSoon
) -> None:
    store = GatedReads(database.store())
    client = await make_client(store, max_reads=1)
    store.shut()
    waiting = [start_soon(wait(client, topic="orders", after=0)) for _ in range(50)]
    await held(client, 50)
    # All of them have come to their first read, and share it.
    assert store.reads == 1
    assert (await scrape(client)).value("aggregator_read_bytes") > 0
    store.open_gate()
    await store.asleep(client, 50)
    await publish(client, published(event_id="e"))
    for events, headers in await asyncio.gather(*waiting):
        assert [event["event_id"] for event in events] == ["e"]
        assert headers["Log-Head"] == "1"
    assert store.reads == 2


@pytest.mark.parametrize("coding", ["zstd", "gzip"])
async def test_waits_for_the_same_page_share_its_compressed_form(
    make_client: MakeClient,
    database: Database,
    start_soon: StartSoon,
    monkeypatch: pytest.MonkeyPatch,
    coding: str,
) -> None:
    compressed: list[str] = []
    compress = compression._compressed

    def counted(parts: deque[bytes], coding: str) -> deque[bytes]:
        if sum(map(len, parts)) > 100_000:
            compressed.append(coding)
        return compress(parts, coding)

    monkeypatch.setattr(compression, "_compressed", counted)
    # Room for the answer to one of them as it is, or for all of them compressed.
    store = GatedReads(database.store())
    client = await make_client(store, answers_max_bytes=400_000)
    event = published(payload={"text": "x" * 300_000})
    parameters = {"topic": "orders", "after": "0"}
    headers = {"Prefer": LONG, "Accept-Encoding": coding}

    async def read() -> tuple[str, list[dict[str, Any]]]:
        response = await client.get("/events", params=parameters, headers=headers)
        return response.headers["Content-Encoding"], await response.json()

    waiting = [start_soon(read()) for _ in range(20)]
    await store.asleep(client, 20)
    await publish(client, event)
    for found, (answer,) in await asyncio.gather(*waiting):
        assert (found, answer["payload"]) == (coding, event["payload"])
    assert compressed == [coding]


async def test_waits_for_different_pages_take_turns(
    make_client: MakeClient, database: Database, start_soon: StartSoon
) -> None:
    store = GatedReads(database.store())
    client = await make_client(store, max_reads=1)
    await publish(client, [published() for _ in range(20)])
    store.shut()
    waiting = [start_soon(wait(client, topic="orders", after=n)) for n in range(20)]
    await held(client, 20)
    assert store.reads == MAX_READS
    store.open_gate()
    for n, (events, _) in enumerate(await asyncio.gather(*waiting)):
        assert [event["offset"] for event in events] == list(range(n + 1, 21))
    assert store.at_once == MAX_READS
    assert not (await scrape(client)).by("aggregator_refusals_total", "of")


async def test_draining_answers_waits_and_refuses_new_ones(
    make_client: MakeClient, start_soon: StartSoon
) -> None:
    client = await make_client()
    await publish(client, published())
    waiting = [start_soon(wait(client, topic="orders", after=1)) for _ in range(3)]
    await held(client, 3)
    assert client.app is not None
    await client.app[DRAIN]()
    for each in waiting:
        events, headers = await each
        assert events == []
        assert headers["Log-Head"] == "1"
        assert headers["Connection"] == "close"
    problem = await expect_problem(await ask(client, topic="orders", after=0), 503)
    assert "shutting down" in problem["detail"]
    assert len(await get_json(client, "/events", topic="orders", after=0)) == 1


async def test_waits_are_counted_apart_from_other_reads(
    make_client: MakeClient, start_soon: StartSoon
) -> None:
    client = await make_client()
    waiting = start_soon(wait(client, topic="orders", after=0))
    await held(client, 1)
    await publish(client, published())
    await waiting
    await get_json(client, "/events")
    await wait(client, topic="orders", after=0)
    page = await scrape(client)
    counted = page.by("aggregator_requests_total", "path", "status")
    assert (counted["/events", "200"], counted["/events (wait)", "200"]) == (1, 2)
    for path, count in (("/events", 1), ("/events (wait)", 2)):
        assert page.value("aggregator_request_duration_seconds_count", path=path) == count


@pytest.mark.parametrize("failing", [1, 2])
async def test_a_wait_whose_read_fails_is_503(
    make_client: MakeClient, database: Database, start_soon: StartSoon, failing: int
) -> None:
    store = FailingReads(database.store(), failing)
    client = await make_client(store)
    waiting = start_soon(ask(client, topic="orders", after=0))
    if failing == 2:
        await store.asleep(client, 1)
        await publish(client, published())
    await expect_problem(await waiting, 503)
    if failing == 1:
        await publish(client, published())
    assert len((await wait(client, topic="orders", after=0))[0]) == 1


class FailingReads(GatedReads):
    """A store of which one read fails, the first or a later one."""

    def __init__(self, inner: object, failing: int) -> None:
        super().__init__(inner)
        self._failing = failing

    async def read(self, query: Query, encode: Any) -> Any:
        page = await super().read(query, encode)
        if self.reads == self._failing:
            raise StorageUnavailable("it is gone")
        return page

"""Following `Link` through the log: every event once, whatever bounds a page."""

import re
from typing import Any

import pytest
from support.events import published
from support.http import Client
from support.talking import expect_problem, next_link, publish, read_all, read_pages
from yarl import URL

import aggregator.wire.event_query
import storage.reading.log_reader

READS: list[dict[str, object]] = [
    {},
    {"order": "asc"},
    {"topic": "b"},
    {"topic": "b", "after": 0},
    {"topic": "b", "after": 3},
    {"topic": "b", "after": 3, "order": "desc"},
    {"source": "rare"},
    {"source": "rare", "order": "asc"},
    {"topic": "b", "source": "rare"},
    {"topic": "b", "source": "rare", "after": 0},
    {"since": "2000-01-01", "until": "9999-01-01"},
    {"since": "2000-01-01", "order": "asc", "source": "common"},
    {"topic": "b", "since": "2000-01-01", "until": "9999-01-01"},
    {"topic": "b", "since": "2000-01-01", "order": "asc"},
]


async def fill(client: Client) -> None:
    """Fourteen events of `b` and of `a` each; two of each are of the source `rare`."""
    for _ in range(2):
        await publish(
            client,
            [
                published(topic=topic, source="rare" if number == 3 else "common")
                for number in range(7)
                for topic in ("b", "a")
            ],
        )


async def expected_of(client: Client, read: dict[str, object]) -> list[dict[str, Any]]:
    """What a read gives, from one page large enough for all."""
    pages = await read_pages(client, limit=5000, **read)
    assert len(pages) == 1
    return pages[0]


@pytest.mark.parametrize("read", READS, ids=str)
async def test_pages_of_any_size_give_each_event_once_in_the_same_order(
    client: Client, read: dict[str, object]
) -> None:
    await fill(client)
    whole = await expected_of(client, read)
    assert whole
    for limit in (1, 3, len(whole)):
        pages = await read_pages(client, limit=limit, **read)
        assert [event for page in pages for event in page] == whole
        assert max(map(len, pages)) <= limit


@pytest.mark.parametrize("read", [r for r in READS if "source" in r], ids=str)
async def test_filter_without_index_continues_through_link(
    client: Client, read: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(client)
    whole = await expected_of(client, read)
    monkeypatch.setattr(storage.reading.log_reader, "SCAN_ROWS", 2)
    pages = await read_pages(client, **read)
    assert [event for page in pages for event in page] == whole
    assert max(map(len, pages)) <= 2
    looked_at = 28 if "topic" not in read else 14
    assert len(pages) >= looked_at // 2
    if read["source"] == "rare":
        assert [] in pages
    monkeypatch.setattr(storage.reading.log_reader, "SCAN_ROWS", 1)
    assert await read_all(client, limit=1, **read) == whole


@pytest.mark.parametrize("read", READS, ids=str)
async def test_page_ends_with_the_event_that_fills_it(
    client: Client, read: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(client)
    whole = await expected_of(client, read)
    monkeypatch.setattr(aggregator.wire.event_query, "MAX_PAGE_BYTES", 2 * len('{"total": 42}') - 1)
    pages = await read_pages(client, **read)
    assert [event for page in pages for event in page] == whole
    assert max(map(len, pages)) == min(2, len(whole))


async def test_event_larger_than_a_page_is_returned(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregator.wire.event_query, "MAX_PAGE_BYTES", 10)
    events = [published(payload={"text": "x" * 1000}) for _ in range(3)]
    await publish(client, events)
    pages = await read_pages(client, topic="orders", after=0)
    assert [len(page) for page in pages] == [1, 1, 1]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("topic", [None, "b"])
async def test_pages_during_publishes_have_each_event_once(
    client: Client, order: str, topic: str | None
) -> None:
    await fill(client)
    read: dict[str, object] = {"order": order}
    if topic is not None:
        read["topic"] = topic
    before = [e["event_id"] for e in await expected_of(client, read)]
    seen: list[str] = []
    target: URL | None = URL("/events").with_query(
        {k: str(v) for k, v in read.items()} | {"limit": "5"}
    )
    while target is not None:
        response = await client.get(target)
        seen += [event["event_id"] for event in await response.json()]
        target = next_link(response)
        if len(seen) <= 20:
            await publish(client, [published(topic="a"), published(topic="b")])
    assert len(seen) == len(set(seen))
    assert [event_id for event_id in seen if event_id in set(before)] == before
    if order == "desc":
        assert len(seen) == len(before)


async def test_a_link_is_a_query_with_the_filters_and_only_there_if_more_follows(
    client: Client,
) -> None:
    await publish(client, [published(source="a b+é&") for _ in range(4)])
    response = await client.get("/events", params={"source": "a b+é&", "limit": "2"})
    # A query alone: it leads to the path that was asked for, whatever a proxy made of that.
    assert response.headers["Link"].startswith("<?")
    target = next_link(response)
    assert target is not None
    assert target.path == "/events"
    assert {**target.query, "cursor": ""} == {"source": "a b+é&", "limit": "2", "cursor": ""}
    assert next_link(await client.get("/events", params={"limit": "4"})) is None
    assert next_link(await client.get("/events", params={"limit": "3"})) is not None


async def cursor_of(client: Client, **parameters: str) -> str:
    target = next_link(await client.get("/events", params={"limit": "2", **parameters}))
    assert target is not None
    return target.query["cursor"]


async def test_a_cursor_is_refused_with_other_filters(client: Client) -> None:
    await fill(client)
    cursor = await cursor_of(client, topic="b", order="asc")
    for other in (
        {},
        {"topic": "b"},
        {"topic": "a", "order": "asc"},
        {"topic": "b", "order": "desc"},
        {"topic": "b", "order": "asc", "after": "0"},
        {"topic": "b", "order": "asc", "source": "rare"},
        {"topic": "b", "order": "asc", "since": "2000-01-01"},
    ):
        response = await client.get("/events", params={**other, "cursor": cursor})
        problem = await expect_problem(response, 422)
        assert [e["field"] for e in problem["errors"]] == ["cursor"], other


async def test_cursor_is_accepted_with_another_limit(client: Client) -> None:
    await fill(client)
    cursor = await cursor_of(client, topic="b", after="0")
    response = await client.get(
        "/events", params={"topic": "b", "after": "0", "limit": "7", "cursor": cursor}
    )
    assert [e["offset"] for e in await response.json()] == [3, 4, 5, 6, 7, 8, 9]


async def test_tampered_cursor_is_no_internal_error(client: Client) -> None:
    await fill(client)
    cursor = await cursor_of(client)
    for place in range(len(cursor)):
        for letter in ("A", "_", "9"):
            changed = cursor[:place] + letter + cursor[place + 1 :]
            response = await client.get("/events", params={"cursor": changed})
            assert response.status in {200, 422}, changed


async def test_durations_count_back_from_one_now_across_pages(client: Client) -> None:
    await publish(client, [published() for _ in range(5)])
    assert await read_all(client, until="1h") == []
    for read in (
        {"since": "1h"},
        {"since": "1d", "until": "0s"},
        {"topic": "orders", "since": "9m"},
    ):
        assert len(await read_all(client, limit=2, **read)) == 5, read
    response = await client.get("/events", params={"since": "2h", "limit": "2"})
    target = next_link(response)
    assert target is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:.]{15}Z", target.query["since"])
    problem = await expect_problem(await client.get("/events?since=5w"), 422)
    assert "s, m, h or d: 5m" in problem["detail"]

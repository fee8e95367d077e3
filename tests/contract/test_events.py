"""GET /events: the order, the filters, and the parameters that are refused."""

from typing import Any
from urllib.parse import quote

import pytest
from support.events import published
from support.http import Client
from support.sockets import get
from support.talking import expect_problem, get_json, publish, read_all
from yarl import URL

FIELDS = {"topic", "event_id", "timestamp", "source", "payload", "offset", "ts_ingest"}
LONG_AGO, FAR_AHEAD = "0001-01-01", "9999-12-31T23:59:59.999999Z"


def place(event: dict[str, Any]) -> tuple[str, bytes, int]:
    return event["ts_ingest"], event["topic"].encode(), event["offset"]


async def fill(client: Client) -> list[dict[str, Any]]:
    """Events of several topics and sources in several batches, as stored, oldest first."""
    number = 0
    for batch in range(4):
        events = []
        for topic in ("b", "a", "_", "B", "a.b", "a-b"):
            for _ in range(batch % 3 + 1):
                number += 1
                events.append(published(topic=topic, source=f"s{number % 3}"))
        await publish(client, events)
    found: list[dict[str, Any]] = await get_json(client, "/events", limit=5000, order="asc")
    assert len(found) == number
    return found


async def test_an_event_has_its_five_fields_its_offset_and_when_it_was_stored(
    client: Client,
) -> None:
    await publish(client, published())
    (event,) = await get_json(client, "/events")
    assert set(event) == FIELDS


async def test_across_topics_the_order_is_time_topic_bytes_offset(client: Client) -> None:
    stored = await fill(client)
    assert stored == sorted(stored, key=place)
    assert await get_json(client, "/events", limit=5000) == stored[::-1]
    assert await get_json(client, "/events", limit=5000, order="desc") == stored[::-1]


async def test_within_a_topic_time_never_decreases(client: Client) -> None:
    await fill(client)
    for topic in ("a", "B"):
        log = await get_json(client, "/events", topic=topic, after=0)
        assert [e["offset"] for e in log] == list(range(1, len(log) + 1))
        assert log == sorted(log, key=place)


async def test_a_topic_is_read_oldest_first_behind_an_offset(client: Client) -> None:
    await publish(client, [published(topic=topic) for topic in ("x", "y") for _ in range(5)])
    behind = {
        after: [e["offset"] for e in await get_json(client, "/events", topic="x", after=after)]
        for after in (0, 1, 4, 5, 6, 2**63 - 1)
    }
    assert behind == {0: [1, 2, 3, 4, 5], 1: [2, 3, 4, 5], 4: [5], 5: [], 6: [], 2**63 - 1: []}
    newest = await get_json(client, "/events", topic="x")
    assert [e["offset"] for e in newest] == [5, 4, 3, 2, 1]
    newest = await get_json(client, "/events", topic="x", after=2, order="desc")
    assert [e["offset"] for e in newest] == [5, 4, 3]
    oldest = await get_json(client, "/events", topic="x", order="asc")
    assert [e["offset"] for e in oldest] == [1, 2, 3, 4, 5]


async def test_unknown_topic_is_empty(client: Client) -> None:
    await publish(client, published())
    assert await get_json(client, "/events", topic="nothing") == []
    assert await get_json(client, "/events", topic="nothing", after=0) == []
    assert await get_json(client, "/events", topic="nothing", since="2026-01-01") == []
    assert await get_json(client, "/events", source="nobody") == []


async def test_default_limit_is_a_hundred_events(client: Client) -> None:
    await publish(client, [published() for _ in range(5_010)])
    assert len(await get_json(client, "/events")) == 100
    assert len(await get_json(client, "/events", limit=1)) == 1
    assert len(await get_json(client, "/events", limit=5000)) == 5000


@pytest.mark.parametrize("topic", [None, "a"])
async def test_filters_select_exactly_the_matching_events(
    client: Client, topic: str | None
) -> None:
    everything = await fill(client)
    filtered: dict[str, str] = {} if topic is None else {"topic": topic}
    stored = [e for e in everything if topic in {None, e["topic"]}]
    moments = sorted({e["ts_ingest"] for e in everything})
    reads: list[dict[str, str]] = [
        {"source": "s1"},
        {"since": LONG_AGO, "until": FAR_AHEAD},
        {"since": FAR_AHEAD},
        {"until": LONG_AGO},
        {"since": moments[-1], "until": moments[0]},
    ]
    for moment in moments:
        reads += [
            {"since": moment},
            {"until": moment},
            {"since": moments[1], "until": moment, "source": "s2"},
        ]
    for read in reads:
        expected = [
            event
            for event in stored
            if event["source"] == read.get("source", event["source"])
            and read.get("since", LONG_AGO) <= event["ts_ingest"] < read.get("until", FAR_AHEAD)
        ]
        oldest = await read_all(client, order="asc", limit=5000, **read, **filtered)
        assert oldest == expected, read
        newest = await read_all(client, order="desc", limit=5000, **read, **filtered)
        assert newest == expected[::-1], read


async def test_times_are_iso_8601_in_any_of_its_forms(client: Client) -> None:
    await publish(client, published())
    for form in (
        "2000-01-31",
        "20000131",
        "2000-W05-1",
        "2000-01-31T12:00:00Z",
        "20000131T120000Z",
        "2000-01-31T12:00:00,5Z",
        "2000-01-31T12",
        "2000-01-31 12:00",
        "2000-01-31T12:00:00+07:00",
    ):
        assert len(await get_json(client, "/events", since=form)) == 1, form
        assert await get_json(client, "/events", until=form) == [], form


async def test_unencoded_plus_in_a_time_is_422_with_a_hint(client: Client) -> None:
    await publish(client, published())
    bare = URL("/events?since=2000-01-31T12:00:00+07:00", encoded=True)
    problem = await expect_problem(await client.get(bare), 422)
    assert "%2B" in problem["detail"]
    encoded = URL("/events?since=2000-01-31T12:00:00%2B07:00", encoded=True)
    assert len(await (await client.get(encoded)).json()) == 1


REFUSED = [
    "unknown=1",
    "Topic=a",
    "limit=1&limit=1",
    "topic=a&topic=a",
    "topic=",
    "limit=",
    "cursor=",
    "after=",
    "topic",
    "source=",
    "since=",
    "order=",
    "after=0",
    "after=0&source=a",
    "topic=a&after=-1",
    "topic=a&after=%2B1",
    "topic=a&after=1.0",
    "topic=a&after=1e3",
    "topic=a&after=9223372036854775808",
    "topic=a&after=" + "9" * 5000,
    "topic=a&after=%EF%BC%91",
    "topic=a&after=1_0",
    "topic=a&after=%201",
    "topic=a&after=0x1",
    "topic=a&after=%D9%A1",
    "limit=0",
    "limit=5001",
    "limit=-1",
    "limit=a",
    "limit=1.5",
    "limit=18446744073709551617",
    "order=ASC",
    "order=up",
    "order=asc%20",
    "topic=a%20b",
    "topic=a/b",
    "topic=" + "a" * 250,
    "topic=%00",
    "topic=%C3%A9",
    "topic=%FF",
    "topic=%zz",
    "topic=%ED%A0%80",
    "source=%00",
    "source=" + "a" * 257,
    "source=%7F",
    "source=%FF",
    "since=now",
    "since=2026-13-01",
    "since=0000-01-01",
    "until=2026-02-30",
    "until=12:00",
    "since=2026-01-01T24:00:01Z",
    "since=0001-01-01T00:00%2B01:00",
    "until=2026-01-01T00:00:00.",
    "since=%00",
    "cursor=x",
    "cursor=%FF",
    "cursor=%C3%A9",
    "cursor=bnVsbA",
    "cursor=W10",
    "cursor=" + "A" * 4000,
]


async def test_a_parameter_that_breaks_its_rule_is_422(client: Client) -> None:
    await publish(client, published())
    found = {}
    for query in REFUSED:
        answer = await get(client, f"/events?{query}")
        found[query] = (answer.status, answer.content_type)
    assert found == dict.fromkeys(REFUSED, (422, "application/problem+json"))


async def test_undecodable_query_is_no_internal_error(
    client: Client,
) -> None:
    answer = await get(client, "/events?topic=\udcff")
    assert answer.status in {400, 422}


async def test_empty_query_string_equals_no_query_string(client: Client) -> None:
    await publish(client, published())
    for target in ("/events", "/events?", "/events?&"):
        assert (await get(client, target)).status == 200


async def test_errors_list_every_broken_parameter(client: Client) -> None:
    response = await client.get("/events", params={"limit": "0", "order": "up", "after": "x"})
    problem = await expect_problem(response, 422)
    assert {e["field"] for e in problem["errors"]} == {"limit", "order", "after"}


async def test_events_are_filtered_by_any_source(client: Client) -> None:
    sources = ["a+b", "a&b=c", "é", "a b", "%41", "#", "\uffff", "\U0010ffff", "'; --"]
    await publish(client, [published(source=source) for source in sources])
    for source in sources:
        answer = await get(client, f"/events?source={quote(source, safe='')}")
        assert answer.status == 200
        found = await read_all(client, source=source)
        assert [event["source"] for event in found] == [source]

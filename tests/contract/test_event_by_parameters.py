"""GET /events?topic=…&event_id=…: for ids that a path can't carry everywhere."""

from support.events import published
from support.http import Client
from support.strategies import EVENT_IDS
from support.talking import expect_problem, get_json, publish
from yarl import URL

HARD = [".", "..", "a/b", "//", "../../stats", "%2E%2E", "a+b c&d=e?f#g", *EVENT_IDS]


async def test_event_is_found_by_any_topic_and_id(client: Client) -> None:
    ids = list(dict.fromkeys(HARD))
    events = [published(topic=topic, event_id=each) for topic in (".", "..") for each in ids]
    answer = await publish(client, events)
    assert answer["unique_processed"] == len(events)
    for topic in (".", ".."):
        for offset, event_id in enumerate(ids, start=1):
            (found,) = await get_json(client, "/events", topic=topic, event_id=event_id)
            assert (found["topic"], found["event_id"], found["offset"]) == (topic, event_id, offset)


async def test_event_by_parameters_equals_event_by_path(client: Client) -> None:
    await publish(client, published(event_id="e-1", payload={"a": [1.10]}))
    by_path = await (await client.get("/events/orders/e-1")).text()
    response = await client.get("/events", params={"topic": "orders", "event_id": "e-1"})
    assert await response.text() == f"[{by_path}]"
    assert "Link" not in response.headers


async def test_keys_that_are_dot_segments_are_found_by_parameters(
    client: Client,
) -> None:
    await publish(client, published(topic="..", event_id="."))
    # What the client of these tests makes of a path is not what was meant.
    assert URL("http://h/events/../.").path == "/"
    (found,) = await get_json(client, "/events", topic="..", event_id=".")
    assert found["event_id"] == "."


async def test_unknown_event_is_an_empty_array(client: Client) -> None:
    await publish(client, published(event_id="e-1"))
    assert await get_json(client, "/events", topic="orders", event_id="e-2") == []
    assert await get_json(client, "/events", topic="none", event_id="e-1") == []


async def test_other_parameters_beside_event_id_are_refused(client: Client) -> None:
    for query, field in (
        ("event_id=a", "event_id"),
        ("topic=t&event_id=a&after=0", "after"),
        ("topic=t&event_id=a&limit=1", "limit"),
        ("topic=t&event_id=a&since=5m", "since"),
        ("topic=t&event_id=%00", "event_id"),
        ("topic=t&event_id=", None),
        ("topic=t&event_id=a&event_id=b", None),
    ):
        problem = await expect_problem(await client.get(f"/events?{query}"), 422)
        named = [error["field"] for error in problem.get("errors", [])]
        assert named == ([field] if field else []), query

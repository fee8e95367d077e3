"""POST /publish: every form of body, and the answer's form."""

import gzip
import json
from typing import Any

import pytest
from support.events import published
from support.http import Client
from support.talking import JSON, NDJSON, get_json, publish, read_all, send, statuses

COUNTS = {"received", "unique_processed", "duplicate_dropped", "conflicts"}
GZIP = {"Content-Encoding": "gzip"}


def three() -> list[dict[str, Any]]:
    return [published(topic=topic) for topic in ("b", "a", "b")]


async def test_one_event_is_answered_with_its_counts_and_its_result(client: Client) -> None:
    event = published()
    answer = await publish(client, event)
    assert answer == {
        "received": 1,
        "unique_processed": 1,
        "duplicate_dropped": 0,
        "conflicts": 0,
        "results": [
            {"topic": "orders", "event_id": event["event_id"], "status": "stored", "offset": 1}
        ],
    }


async def test_results_are_in_the_order_sent_with_ascending_offsets(client: Client) -> None:
    events = three()
    answer = await publish(client, events)
    assert [(r["topic"], r["event_id"], r["offset"]) for r in answer["results"]] == [
        ("b", events[0]["event_id"], 1),
        ("a", events[1]["event_id"], 1),
        ("b", events[2]["event_id"], 2),
    ]
    answer = await publish(client, [published(topic="b"), published(topic="b")])
    assert [r["offset"] for r in answer["results"]] == [3, 4]


def forms(events: list[dict[str, Any]]) -> dict[str, tuple[bytes, dict[str, str]]]:
    array = json.dumps(events).encode()
    lines = [json.dumps(event).encode() for event in events]
    ndjson = b"\n".join(lines)
    return {
        "array": (array, JSON),
        "array with white space around": (b" \r\n\t" + array + b"\n ", JSON),
        "envelope": (b'{"events": %b}' % array, JSON),
        "envelope with white space": (b' {\n "events" \t: %b \r\n} ' % array, JSON),
        "envelope with an escaped name": (b'{"\\u0065vents": %b}' % array, JSON),
        "NDJSON": (ndjson, NDJSON),
        "NDJSON that ends with a line end": (ndjson + b"\n", NDJSON),
        "NDJSON with blank lines and CRLF": (b"\n \t\r\n" + b"\r\n\n".join(lines), NDJSON),
        "gzip": (gzip.compress(array), JSON | GZIP),
        "gzip of NDJSON": (gzip.compress(ndjson), NDJSON | GZIP),
        "gzip of several members": (
            gzip.compress(array[:10]) + gzip.compress(b"") + gzip.compress(array[10:]),
            JSON | GZIP,
        ),
        "x-gzip": (gzip.compress(array), JSON | {"Content-Encoding": "x-gzip"}),
        "identity": (array, JSON | {"Content-Encoding": "identity"}),
        "charset": (array, {"Content-Type": 'application/json; charset="UTF-8"'}),
        "media type in capitals": (array, {"Content-Type": "Application/JSON"}),
    }


@pytest.mark.parametrize("form", forms([]))
async def test_every_form_of_body_stores_the_same_events(client: Client, form: str) -> None:
    events = three()
    body, headers = forms(events)[form]
    answer = await publish(client, body, headers)
    assert set(answer) == COUNTS | {"results"}
    assert answer["received"] == answer["unique_processed"] == 3
    assert [r["event_id"] for r in answer["results"]] == [e["event_id"] for e in events]
    stored = {e["event_id"]: e["payload"] for e in await read_all(client)}
    assert stored == {e["event_id"]: e["payload"] for e in events}


async def test_json_is_assumed_without_a_content_type(client: Client) -> None:
    body = json.dumps(published()).encode()
    async with client.post("/publish", data=body, skip_auto_headers=["Content-Type"]) as response:
        assert response.status == 200, await response.text()


async def test_a_body_sent_in_chunks_is_read_to_its_end(client: Client) -> None:
    events = [published() for _ in range(200)]
    text = json.dumps(events).encode()

    async def pieces() -> Any:
        for start in range(0, len(text), 1000):
            yield text[start : start + 1000]

    response = await client.post("/publish", data=pieces(), headers=JSON)
    assert response.status == 200, await response.text()
    assert (await response.json())["received"] == 200


async def test_a_body_parsed_off_the_event_loop_is_stored_like_any_other(client: Client) -> None:
    events = [published(payload={"text": "x" * 1000}) for _ in range(400)]
    answer = await publish(client, events)
    assert answer["unique_processed"] == 400
    assert [r["offset"] for r in answer["results"]] == list(range(1, 401))


async def test_acknowledged_event_can_be_read_back(client: Client) -> None:
    event = published(event_id="a/1", source="shop é")
    await publish(client, event)
    (found,) = await read_all(client, topic="orders", after=0)
    ts_ingest = found.pop("ts_ingest")
    assert found == event | {"offset": 1, "timestamp": "2026-01-31T12:00:00.000000Z"}
    assert len(ts_ingest) == len("2026-01-31T12:00:00.000000Z")
    assert ts_ingest.endswith("Z")


async def test_one_invalid_event_refuses_the_whole_request(client: Client) -> None:
    good = published()
    response = await send(client, json.dumps([good, published(topic="")]).encode())
    assert response.status == 422
    assert await read_all(client) == []
    assert (await get_json(client, "/stats"))["received"] == 0
    assert statuses(await publish(client, good)) == ["stored"]


async def test_request_id_is_returned_or_replaced(client: Client) -> None:
    response = await client.post("/publish", json=published(), headers={"X-Request-ID": "order-17"})
    assert response.headers["X-Request-ID"] == "order-17"
    response = await client.post("/publish", json=published(), headers={"X-Request-ID": "a b"})
    assert response.headers["X-Request-ID"] not in {"", "a b"}

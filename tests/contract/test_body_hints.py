"""Bodies that tools spoil on their way: a byte order mark is passed over, the rest is explained."""

import json

import pytest
from support.events import published
from support.http import Client
from support.talking import JSON, NDJSON, expect_problem, get_json

BOM = b"\xef\xbb\xbf"
LENIENT = {"Prefer": "handling=lenient"}
# The second of them does not go the short way.
WAYS = pytest.mark.parametrize("path", ["/publish", "/publish?"])


def line(event_id: str) -> bytes:
    return json.dumps(published(event_id=event_id)).encode()


FORMS = {
    "one": (JSON, line("a")),
    "array": (JSON, b"[" + line("a") + b"]"),
    "envelope": (JSON, b' {"events":[' + line("a") + b"]}"),
    "ndjson": (NDJSON, line("a") + b"\n" + line("b") + b"\n"),
    "ndjson, lenient": (NDJSON | LENIENT, line("a") + b"\n"),
}


@WAYS
@pytest.mark.parametrize("form", FORMS)
async def test_a_byte_order_mark_at_the_beginning_is_passed_over(
    client: Client, path: str, form: str
) -> None:
    headers, body = FORMS[form]
    response = await client.post(path, data=BOM + body, headers=headers)
    answer = await response.json()
    assert response.status == 200, answer
    assert answer["unique_processed"] == answer["received"] == body.count(b'"event_id"')
    assert (await get_json(client, "/events/orders/a"))["event_id"] == "a"


@WAYS
@pytest.mark.parametrize(
    ("headers", "body", "status", "told"),
    [
        (JSON, BOM, 400, "the body is empty"),
        (NDJSON, BOM + b"\n", 422, "the batch is empty"),
        (JSON, BOM + BOM + line("a"), 400, "byte order mark"),
        (NDJSON, line("a") + b"\n" + BOM + line("b"), 400, "index 1 is not.*byte order mark"),
        (NDJSON, line("a") + line("b"), 400, "line of its own.*--data-binary"),
        (NDJSON, line("a") + b" \t " + line("b"), 400, "line of its own.*--data-binary"),
        (JSON, line("a") + b"\n" + line("b"), 400, "array.*application/x-ndjson"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, line("a"), 415, "curl: -H"),
    ],
)
async def test_body_changed_by_a_tool_gets_a_hint(
    client: Client, path: str, headers: dict[str, str], body: bytes, status: int, told: str
) -> None:
    response = await client.post(path, data=body, headers=headers)
    problem = await expect_problem(response, status)
    assert told.split(".*") == [part for part in told.split(".*") if part in problem["detail"]]


async def test_a_line_with_two_events_is_rejected_alone(client: Client) -> None:
    body = line("a") + line("b") + b"\n" + line("c")
    response = await client.post("/publish", data=body, headers=NDJSON | LENIENT)
    answer = await response.json()
    assert (answer["received"], answer["rejected"]) == (1, 1)
    assert "--data-binary" in answer["results"][0]["error"]


@pytest.mark.parametrize("body", [b'{"a": 1}x', b"[1][2]", b'{"a": 1}}'])
async def test_other_trailing_characters_get_no_hint(client: Client, body: bytes) -> None:
    for headers in (JSON, NDJSON):
        problem = await expect_problem(
            await client.post("/publish", data=body, headers=headers), 400
        )
        assert "another event" not in problem["detail"]

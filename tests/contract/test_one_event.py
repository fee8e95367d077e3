"""GET /events/{topic}/{event_id}: one event by its key, whatever the key holds."""

import json
from urllib.parse import quote

from support.events import published
from support.http import Client
from support.sockets import get
from support.talking import expect_problem, get_json, publish

IDS = [
    "e-1",
    "a/b",
    "/",
    "//",
    "a b",
    " ",
    "é",
    "e\u0301",
    "😀",
    "%",
    "%2F",
    "%00",
    "100%",
    "a?b",
    "a#b",
    "a+b",
    "a&b=c",
    "..",
    ".",
    "../x",
    "{event_id}",
    "{",
    "}",
    "\\",
    '"',
    "'",
    "a;b",
    "a,b",
    ":",
    "@",
    "\x80",
    "\u2028",
    "\ufeff",
    "\uffff",
    "\U0010ffff",
    "x" * 256,
    "😀" * 256,
    "~",
    "*",
    "null",
]


async def test_event_is_found_by_any_valid_id(client: Client) -> None:
    await publish(client, [published(event_id=event_id) for event_id in IDS])
    listed = {e["event_id"]: e for e in await get_json(client, "/events", topic="orders", after=0)}
    assert set(listed) == set(IDS)
    for event_id in IDS:
        answer = await get(client, f"/events/orders/{quote(event_id, safe='')}")
        assert (answer.status, answer.content_type) == (200, "application/json"), event_id
        assert json.loads(answer.body) == listed[event_id]


async def test_ids_that_look_alike_are_not_confused(client: Client) -> None:
    await publish(client, [published(event_id="é"), published(event_id="%2F")])
    for target in ("e%CC%81", "E%CC%81", "/", "%2F", "%20%C3%A9", "%C3%A9%20", "%C3%89"):
        assert (await get(client, f"/events/orders/{target}")).status == 404, target
    assert (await get(client, "/events/orders/%252F")).status == 200
    assert (await get(client, "/events/Orders/%C3%A9")).status == 404


async def test_unknown_or_malformed_key_is_404(client: Client) -> None:
    await publish(client, published(event_id="e-1"))
    targets = [
        "orders/e-2",
        "other/e-1",
        "orders/%00",
        "orders/e-1%00",
        "orders/%zz",
        "orders/%",
        "orders/%f",
        "orders/%FF",
        "orders/%C3",
        "orders/%ED%A0%80",
        "%FF/e-1",
        "%00/e-1",
        "a%20b/e-1",
        "%2F/e-1",
        "orders%2Fe-1",
        "orders/",
        "/e-1",
        "/",
        "orders/" + "x" * 257,
        "x" * 250 + "/e-1",
        "orders/%0A",
        "orders/%7F",
        "orders/%F4%90%80%80",
        "orders/" + "%F0%9F%98%80" * 300,
        "orders/e-1/",
        "orders/a/b",
    ]
    found = {}
    for target in targets:
        answer = await get(client, f"/events/{target}")
        found[target] = (answer.status, answer.content_type)
    assert found == dict.fromkeys(targets, (404, "application/problem+json"))
    assert (await get(client, "/events/orders/\udcff")).status in {400, 404}


async def test_404_names_the_missing_event(client: Client) -> None:
    problem = await expect_problem(await client.get("/events/orders/e-9"), 404)
    assert "orders" in problem["detail"]
    assert "e-9" in problem["detail"]

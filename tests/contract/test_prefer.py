"""Prefer: return=minimal and handling=lenient, alone and together."""

from typing import Any

from support.events import published
from support.http import Client, MakeClient
from support.talking import (
    NDJSON,
    expect_problem,
    get_json,
    publish,
    read_all,
    send,
    statuses,
    text_of,
)

COUNTS = {"received", "unique_processed", "duplicate_dropped", "conflicts"}
MINIMAL = {"Prefer": "return=minimal"}
LENIENT = {"Prefer": "handling=lenient"}
BOTH = {"Prefer": "return=minimal, handling=lenient"}


def mixed() -> list[Any]:
    """Places 1, 3 and 4 are wrong; 5 repeats 0."""
    good = published(event_id="good")
    return [good, published(topic="a b"), published(event_id="other"), 17, {}, good]


async def test_return_minimal_omits_results(client: Client) -> None:
    event = published()
    assert set(await publish(client, [event, event], MINIMAL)) == COUNTS


async def test_lenient_stores_the_valid_events_and_names_the_others_in_place(
    client: Client,
) -> None:
    answer = await publish(client, mixed(), LENIENT)
    assert set(answer) == COUNTS | {"rejected", "results"}
    assert (answer["received"], answer["unique_processed"], answer["rejected"]) == (3, 2, 3)
    assert statuses(answer) == ["stored", "rejected", "stored", "rejected", "rejected", "duplicate"]
    for index in (1, 3, 4):
        entry = answer["results"][index]
        assert set(entry) == {"index", "status", "error"}
        assert entry["index"] == index
        assert entry["error"]
    assert [answer["results"][i]["offset"] for i in (0, 2, 5)] == [1, 2, 1]
    assert [e["event_id"] for e in await read_all(client, topic="orders", after=0)] == [
        "good",
        "other",
    ]
    assert (await get_json(client, "/stats"))["received"] == 3


async def test_lenient_names_every_rule_an_event_breaks(client: Client) -> None:
    answer = await publish(client, published(topic="", source=7), LENIENT)
    assert "topic" in answer["results"][0]["error"]
    assert "source" in answer["results"][0]["error"]


async def test_minimal_with_lenient_lists_only_rejected_events(client: Client) -> None:
    answer = await publish(client, mixed(), BOTH)
    assert set(answer) == COUNTS | {"rejected", "results"}
    assert [(r["index"], r["status"]) for r in answer["results"]] == [
        (1, "rejected"),
        (3, "rejected"),
        (4, "rejected"),
    ]


async def test_lenient_without_invalid_events_has_rejected_zero(client: Client) -> None:
    answer = await publish(client, published(), LENIENT)
    assert (answer["rejected"], statuses(answer)) == (0, ["stored"])
    answer = await publish(client, published(), BOTH)
    assert (answer["rejected"], answer["results"]) == (0, [])


async def test_lenient_with_only_invalid_events_has_received_zero(client: Client) -> None:
    answer = await publish(client, [{}, 1], LENIENT)
    assert {name: answer[name] for name in COUNTS} == dict.fromkeys(COUNTS, 0)
    assert (answer["rejected"], statuses(answer)) == (2, ["rejected"] * 2)
    assert (await get_json(client, "/stats"))["topics"] == {}


async def test_a_single_invalid_event_can_be_rejected_too(client: Client) -> None:
    answer = await publish(client, b"{}", LENIENT)
    assert statuses(answer) == ["rejected"]


async def test_an_ndjson_line_that_is_not_json_is_rejected_alone(client: Client) -> None:
    lines = [
        b"",
        text_of(event_id='"1"'),
        b"{nonsense",
        b"\t",
        text_of(event_id='"2"')[:-1],
        b"\xff",
        text_of(event_id='"3"'),
        b"[" * 100_000,
    ]
    answer = await publish(client, b"\n".join(lines), NDJSON | LENIENT)
    assert statuses(answer) == ["stored", *["rejected"] * 3, "stored", "rejected"]
    assert [r["index"] for r in answer["results"] if r["status"] == "rejected"] == [1, 2, 3, 5]


async def test_malformed_body_under_lenient_is_400(client: Client) -> None:
    await expect_problem(await send(client, b"[{]", LENIENT), 400)
    await expect_problem(await send(client, b"[]", LENIENT), 422)
    await expect_problem(await send(client, b"17", LENIENT), 422)


async def test_oversized_payload_under_lenient_is_413(make_client: MakeClient) -> None:
    client = await make_client(max_payload_bytes=100)
    big = published(payload={"text": "x" * 100})
    for events in ([big], [published(), big], [published(), {}, big | {"topic": ""}]):
        response = await client.post("/publish", json=events, headers=LENIENT)
        await expect_problem(response, 413)
    assert (await get_json(client, "/stats"))["received"] == 0


async def test_preference_applied_lists_applied_preferences(client: Client) -> None:
    confirmed = {
        "return=minimal": "return=minimal",
        "handling=lenient": "handling=lenient",
        "handling=lenient, return=minimal": "return=minimal, handling=lenient",
        'HANDLING="lenient"; x=1, wait=10': "handling=lenient",
        "return=representation": None,
        "handling=strict, respond-async": None,
        "return=representation, return=minimal": None,
        '"': None,
    }
    found = {}
    for prefer in confirmed:
        response = await client.post("/publish", json=published(), headers={"Prefer": prefer})
        assert response.status == 200
        found[prefer] = response.headers.get("Preference-Applied")
    assert found == confirmed


async def test_preferences_in_several_headers_count_together(client: Client) -> None:
    headers = [("Prefer", "return=minimal"), ("Prefer", "handling=lenient")]
    response = await client.post("/publish", json=[published(), {}], headers=headers)
    assert response.headers["Preference-Applied"] == "return=minimal, handling=lenient"
    assert [r["index"] for r in (await response.json())["results"]] == [1]

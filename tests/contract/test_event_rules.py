"""The rules of each field, at their bounds, and what becomes of a payload."""

import json
from typing import Any

import pytest
from support.events import published
from support.http import Client
from support.sockets import get
from support.talking import (
    NDJSON,
    expect_problem,
    nested,
    publish,
    read_all,
    send,
    statuses,
    text_of,
)

LENIENT = {"Prefer": "handling=lenient"}
CONTROL = [chr(code) for code in [*range(0x20), 0x7F]]

VALID: dict[str, list[Any]] = {
    "topic": ["a", "x" * 249, "AZaz09._-", ".", "..", "-"],
    "event_id": [
        "a",
        "x" * 256,
        "😀" * 256,
        " a ",
        "é",
        "e\u0301",
        "\x80",
        "\x85",
        "\x9f",
        "\u2028",
        "\ufffe",
        "\uffff",
        "\U0010ffff",
        "\ufeff",
        "a/b",
        "%00",
        "\\",
        '"',
        "{}",
        "..",
    ],
    "source": ["a", "x" * 256, "😀" * 256, " ", "é", "\x80", "\uffff", "\U0010ffff"],
    "payload": [{}, {"": {}}, {"topic": 1}, {"a": [None, True, 1.5, "x"]}],
}
INVALID: dict[str, list[Any]] = {
    "topic": [
        "",
        "x" * 250,
        "a b",
        "a/b",
        "é",
        "a\n",
        "\n",
        "a\x00",
        "\uff41",
        1,
        None,
        [],
        {},
        True,
    ],
    "event_id": ["", "x" * 257, "😀" * 257, *CONTROL, "a\n", 1, 1.5, None, [], {}, False],
    "source": ["", "x" * 257, "😀" * 257, *CONTROL, "a\x00", 0, None, ["a"], {}, True],
    "payload": ["", "{}", [], [{}], 1, None, True],
    "timestamp": ["", 1_769_860_800, None, [], {}, True],
}

TIMESTAMPS = {
    "2026-01-31T12:00:00Z": "2026-01-31T12:00:00.000000Z",
    "2026-01-31t12:00:00z": "2026-01-31T12:00:00.000000Z",
    "2026-01-31 12:00:00Z": "2026-01-31T12:00:00.000000Z",
    "2026-01-31T12:00:00": "2026-01-31T12:00:00.000000Z",
    "2026-01-31T12:00": "2026-01-31T12:00:00.000000Z",
    "2026-01-31T12:00Z": "2026-01-31T12:00:00.000000Z",
    "2026-01-31T12:00+07:00": "2026-01-31T05:00:00.000000Z",
    "2026-01-31T12:00:00.1Z": "2026-01-31T12:00:00.100000Z",
    "2026-01-31T12:00:00.000001Z": "2026-01-31T12:00:00.000001Z",
    "2026-01-31T12:00:00.9999999Z": "2026-01-31T12:00:00.999999Z",
    "2026-12-31T23:59:59.9999995-00:00": "2026-12-31T23:59:59.999999Z",
    "1969-12-31T23:59:59.9999999Z": "1969-12-31T23:59:59.999999Z",
    f"2026-01-31T12:00:00.{'9' * 300}Z": "2026-01-31T12:00:00.999999Z",
    "2026-01-01T00:30:00+23:59": "2025-12-31T00:31:00.000000Z",
    "2026-01-01T00:30:00-23:59": "2026-01-02T00:29:00.000000Z",
    "2024-02-29T00:00:00Z": "2024-02-29T00:00:00.000000Z",
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00.000000Z",
    "9999-12-31T23:59:59.999999Z": "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59.9999999Z": "9999-12-31T23:59:59.999999Z",
    "0001-01-01T01:00:00+01:00": "0001-01-01T00:00:00.000000Z",
    "9999-12-31T22:59:59-01:00": "9999-12-31T23:59:59.000000Z",
}
NO_TIMESTAMPS = [
    "2026-01-31",
    "2026-01-31T",
    "2026-01-31T12",
    "12:00:00Z",
    "20260131T120000Z",
    "2026-W05-6",
    "2026-02-29T00:00:00Z",
    "2026-00-01T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-01-31T24:00:00Z",
    "2026-01-31T12:60:00Z",
    "2016-12-31T23:59:60Z",
    "2026-01-31T12:00:00.Z",
    "2026-01-31T12:00:00,5Z",
    "2026-01-31T12:00.5Z",
    "2026-01-31T12:00:00+0700",
    "2026-01-31T12:00:00+07",
    "2026-01-31T12:00:00+24:00",
    "2026-01-31T12:00:00+07:60",
    "2026-01-31T12:00:00ZZ",
    "2026-01-31T12:00:00Z ",
    " 2026-01-31T12:00:00Z",
    "2026-01-31T12:00:00Z\n",
    "2026-01-31_12:00:00Z",
    "2026-1-31T12:00:00Z",
    "+2026-01-31T12:00:00Z",
    "-026-01-31T12:00:00Z",
    "12026-01-31T12:00:00Z",
    "0000-12-31T23:59:59Z",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "9999-12-31T23:59:00-00:01",
    "٢٠٢٦-01-31T12:00:00Z",
    "now",
    "1",
]

PAYLOADS = [
    "{}",
    '{ \t"a"\r\n:  [ 1 , 2 ] }',
    '{"n": 12345678901234567890, "m": 1.10, "z": -0, "e": 1E+5, "big": 1e999999}',
    '{"nul": "\\u0000", "a\\u0000b": 1}',
    '{"lone": "\\ud800", "low": "x\\uDC00y", "\\udfff": 1, "turned": "\\udc00\\ud800"}',
    '{"pair": "\\ud83d\\ude00", "raw": "😀", "slash": "\\/", "upper": "\\u00E9"}',
    '{"a": 1, "b": 2, "a": 3}',
    '{"b": 1, "a": 2, "": 3}',
    '{"quotes": "\\"{[\\\\", "\\\\": "]}"}',
    '{"separators": "\u2028\u2029", "last": "\U0010ffff", "nonchar": "\uffff"}',
    nested(128),
    '{"many":[' + ",".join(["[]"] * 1000) + "]}",
    '{"brackets in a string": "' + "[{" * 500 + '"}',
]


@pytest.mark.parametrize("field", VALID)
async def test_a_value_within_the_rules_is_stored_as_it_is(client: Client, field: str) -> None:
    events = [published(**{field: value}) for value in VALID[field]]
    assert statuses(await publish(client, events)) == ["stored"] * len(events)
    found = {(e["topic"], e["event_id"]): e[field] for e in await read_all(client)}
    assert found == {(e["topic"], e["event_id"]): e[field] for e in events}


@pytest.mark.parametrize("field", INVALID)
async def test_a_value_outside_the_rules_is_refused_with_its_field(
    client: Client, field: str
) -> None:
    for value in INVALID[field]:
        response = await client.post("/publish", json=[published(), published(**{field: value})])
        problem = await expect_problem(response, 422)
        assert [(e["index"], e["field"]) for e in problem["errors"]] == [(1, field)], value
    assert await read_all(client) == []


@pytest.mark.parametrize("field", ["topic", "event_id", "timestamp", "source", "payload"])
async def test_every_field_is_required(client: Client, field: str) -> None:
    problem = await expect_problem(await send(client, text_of(**{field: ""})), 422)
    assert [e["field"] for e in problem["errors"]] == [field]


async def test_errors_list_every_broken_rule_of_an_event(client: Client) -> None:
    event = {"topic": "a b", "event_id": "", "timestamp": "now", "payload": [], "extra": 1}
    problem = await expect_problem(await client.post("/publish", json=event), 422)
    assert {e["field"] for e in problem["errors"]} == {*event, "source"}


async def test_an_unknown_field_is_refused_and_payload_named(client: Client) -> None:
    for name in ("extra", "Topic", "offset", "ts_ingest", "", "é", "\\ud800"):
        text = text_of()[:-1] + f', "{name}": 1}}'.encode()
        problem = await expect_problem(await send(client, text), 422)
        assert "payload" in problem["detail"]


async def test_timestamps_come_back_in_one_form_cut_and_in_utc(client: Client) -> None:
    events = [published(event_id=text[:200], timestamp=text) for text in TIMESTAMPS]
    assert statuses(await publish(client, events)) == ["stored"] * len(events)
    found = {e["event_id"]: e["timestamp"] for e in await read_all(client)}
    assert found == {text[:200]: rendered for text, rendered in TIMESTAMPS.items()}


async def test_invalid_timestamp_is_refused(client: Client) -> None:
    answer = await publish(client, [published(timestamp=text) for text in NO_TIMESTAMPS], LENIENT)
    accepted = [
        text
        for text, verdict in zip(NO_TIMESTAMPS, statuses(answer), strict=True)
        if verdict != "rejected"
    ]
    assert accepted == []


async def test_a_payload_is_given_back_byte_for_byte(client: Client) -> None:
    texts = [text_of(event_id=f'"{i}"', payload=payload) for i, payload in enumerate(PAYLOADS)]
    # Once through the way that takes plainly valid events alone, once beside a lone surrogate.
    assert statuses(await publish(client, b"[" + b",".join(texts) + b"]")) == ["stored"] * len(
        texts
    )
    for i, payload in enumerate(PAYLOADS):
        body = (await get(client, f"/events/orders/{i}")).body
        assert payload.encode() in body, payload


@pytest.mark.parametrize("payload", [p for p in PAYLOADS if "\n" not in p], ids=lambda _: "")
async def test_a_payload_sent_alone_is_given_back_byte_for_byte(
    client: Client, payload: str
) -> None:
    await publish(client, text_of(payload=payload), NDJSON)
    assert payload.encode() in (await get(client, "/events/orders/e-1")).body
    assert payload.encode() in (await get(client, "/events?topic=orders&after=0")).body


async def test_nesting_up_to_128_levels_is_kept_and_deeper_is_refused_alone(
    client: Client,
) -> None:
    levels = [1, 127, 128, 129, 149, 150, 151, 300, 1_001, 100_000]
    texts = [text_of(event_id=f'"{n}"', payload=nested(n)) for n in levels]
    expected = ["stored" if n <= 128 else "rejected" for n in levels]
    answer = await publish(client, b"[" + b",".join(texts) + b"]", LENIENT)
    assert statuses(answer) == expected
    for n, text in zip(levels, texts, strict=True):
        response = await send(client, text)
        if n <= 128:
            assert (await response.json())["results"][0]["status"] == "duplicate"
        else:
            problem = await expect_problem(response, 422)
            assert [(e["index"], e["field"]) for e in problem["errors"]] == [(0, "payload")]


async def test_deep_nesting_anywhere_else_is_refused_for_that_event_alone(client: Client) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    texts = [
        text_of(),
        text_of(topic=deep),
        deep.encode(),
        text_of(timestamp=deep),
        text_of(extra=deep),
        text_of(event_id='"e-2"'),
    ]
    answer = await publish(client, b"[" + b",".join(texts) + b"]", LENIENT)
    assert statuses(answer) == ["stored", *["rejected"] * 4, "stored"]


@pytest.mark.parametrize("field", ["topic", "event_id", "source", "timestamp"])
async def test_a_lone_surrogate_outside_the_payload_is_refused_for_that_event_alone(
    client: Client, field: str
) -> None:
    broken = text_of(**{field: '"a\\ud800"'})
    problem = await expect_problem(await send(client, broken), 422)
    assert [e["field"] for e in problem["errors"]] == [field]
    body = b"[" + broken + b"," + text_of(payload='{"a": "\\udead"}') + b"]"
    problem = await expect_problem(await send(client, body), 422)
    assert [e["index"] for e in problem["errors"]] == [0]
    assert statuses(await publish(client, body, LENIENT)) == ["rejected", "stored"]


async def test_a_surrogate_pair_is_one_character(client: Client) -> None:
    text = text_of(event_id='"' + "\\ud83d\\ude00" * 256 + '"', payload='{"lone": "\\ud800"}')
    await publish(client, text)
    assert (await read_all(client))[0]["event_id"] == "😀" * 256


async def test_last_of_a_repeated_field_counts(client: Client) -> None:
    twice = b'{"topic": 1, "source": "first", "payload": [], "event_id": "\\ud800",' + text_of()[1:]
    await publish(client, twice)
    plain = b'{"source": "first", "topic": "first", "payload": {"first": 1},' + text_of()[1:]
    assert statuses(await publish(client, plain)) == ["duplicate"]
    (event,) = await read_all(client)
    assert (event["topic"], event["source"], event["payload"]) == ("orders", "shop", {"total": 42})
    backwards = text_of()[:-1] + b', "topic": 1}'
    await expect_problem(await send(client, backwards), 422)


async def test_escaped_field_name_is_accepted(client: Client) -> None:
    text = json.dumps(published(event_id="a")).replace('"topic"', '"\\u0074opic"')
    assert statuses(await publish(client, text.encode())) == ["stored"]

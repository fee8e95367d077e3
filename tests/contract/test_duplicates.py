"""Verdicts: what is stored, what is a duplicate, and what is a conflict."""

from typing import Any

from support.events import published
from support.http import Client
from support.talking import get_json, publish, read_all, statuses, text_of

# Payloads of the same value, and of another; the first of each row is stored.
SAME = {
    "integer and fraction": ['{"n": 1}', '{"n": 1.0}', '{"n": 10e-1}', '{"n": 0.1E+1}'],
    "zeros": ['{"n": 0}', '{"n": -0}', '{"n": 0.000}', '{"n": 0e999999999999}'],
    "huge exponents": ['{"n": 1e999999999}', '{"n": 10e999999998}', '{"n": 0.1e1000000000}'],
    "tiny exponents": ['{"n": 1e-999999999}', '{"n": 0.01e-999999997}'],
    "exponents beyond 64 bits": [
        '{"n": 1e99999999999999999999999}',
        '{"n": 10e99999999999999999999998}',
    ],
    "many digits": ['{"n": 12345678901234567890}', '{"n": 1234567890123456789.0e1}'],
    "white space": ['{"a":[1,2]}', ' { "a" : [ 1 ,\n2 ] } ', '{"a":[1,2]}'],
    "key order": ['{"a": 1, "b": {"c": 2, "d": 3}}', '{"b": {"d": 3, "c": 2}, "a": 1}'],
    "the last of a repeated key": ['{"a": 2}', '{"a": 1, "a": 2}', '{"\\u0061": 1, "a": 2}'],
    "escapes": ['{"é": "\\n/"}', '{"\\u00e9": "\\u000A\\/"}', '{"\\u00E9": "\\n/"}'],
    "a surrogate pair": ['{"a": "😀"}', '{"a": "\\ud83d\\ude00"}'],
    "lone surrogates": ['{"a": "\\ud800"}', '{"a": "\\uD800"}'],
}
OTHER = {
    "another number": ['{"n": 1}', '{"n": 2}', '{"n": -1}', '{"n": 1e1}'],
    "a float's blind spot": ['{"n": 0.1}', '{"n": 0.10000000000000001}'],
    "two huge exponents": ['{"n": 1e999999999}', '{"n": 1e999999998}', '{"n": -1e999999999}'],
    "another type": ['{"n": 1}', '{"n": "1"}', '{"n": true}', '{"n": [1]}', '{"n": null}'],
    "false and zero": ['{"n": 0}', '{"n": false}', '{"n": null}', '{"n": ""}', '{"n": []}'],
    "array order": ['{"a": [1, 2]}', '{"a": [2, 1]}', '{"a": [1]}', '{"a": [1, 2, 2]}'],
    "an earlier of a repeated key": ['{"a": 2}', '{"a": 2, "a": 1}'],
    "a key more": ['{"a": 1}', '{"a": 1, "b": null}', "{}"],
    "normal forms": ['{"a": "é"}', '{"a": "e\\u0301"}'],
    "letter case": ['{"a": "x"}', '{"A": "x"}', '{"a": "X"}'],
    "lone surrogates": ['{"a": "\\ud800"}', '{"a": "\\ud801"}', '{"a": "\\udc00"}'],
    "an escaped NUL": ['{"a": "\\u0000"}', '{"a": ""}', '{"a": "\\\\u0000"}'],
}


async def verdicts_of(client: Client, rows: dict[str, list[str]]) -> dict[str, list[str]]:
    """Each row under an id of its own: the first alone, then all of them in one batch."""
    found: dict[str, list[str]] = {}
    for name, payloads in rows.items():
        texts = [text_of(event_id=f'"{name}"', payload=payload) for payload in payloads]
        alone = statuses(await publish(client, texts[0]))
        found[name] = alone + statuses(await publish(client, b"[" + b",".join(texts) + b"]"))
    return found


async def test_equal_json_values_are_duplicates(client: Client) -> None:
    expected = {name: ["stored", *["duplicate"] * len(row)] for name, row in SAME.items()}
    assert await verdicts_of(client, SAME) == expected


async def test_other_json_values_are_conflicts(client: Client) -> None:
    expected = {
        name: ["stored", "duplicate", *["conflict"] * (len(row) - 1)] for name, row in OTHER.items()
    }
    assert await verdicts_of(client, OTHER) == expected


async def test_values_are_compared_within_one_batch_too(client: Client) -> None:
    texts = [text_of(payload=payload) for payload in ('{"n": 1}', '{"n": 1.0}', '{"n": 2}')]
    answer = await publish(client, b"[" + b",".join(texts) + b"]")
    assert statuses(answer) == ["stored", "duplicate", "conflict"]
    assert [result["offset"] for result in answer["results"]] == [1, 1, 1]


async def test_a_duplicate_gets_the_original_s_offset_across_requests(client: Client) -> None:
    events = [published() for _ in range(3)]
    await publish(client, events)
    again = await publish(client, [events[2], published(), events[0]])
    assert [(r["status"], r["offset"]) for r in again["results"]] == [
        ("duplicate", 3),
        ("stored", 4),
        ("duplicate", 1),
    ]
    assert {k: again[k] for k in again if k != "results"} == {
        "received": 3,
        "unique_processed": 1,
        "duplicate_dropped": 2,
        "conflicts": 0,
    }


async def test_an_id_repeated_within_a_batch_is_stored_once(client: Client) -> None:
    one, two = published(), published()
    answer = await publish(client, [one, two, one, one])
    assert statuses(answer) == ["stored", "stored", "duplicate", "duplicate"]
    assert [r["offset"] for r in answer["results"]] == [1, 2, 1, 1]
    assert [e["event_id"] for e in await read_all(client, topic="orders", after=0)] == [
        one["event_id"],
        two["event_id"],
    ]


async def test_the_first_write_wins_and_a_conflict_counts_twice(client: Client) -> None:
    first = published(payload={"total": 1})
    await publish(client, first)
    answer = await publish(client, first | {"payload": {"total": 2}})
    assert answer["duplicate_dropped"] == answer["conflicts"] == 1
    (stored,) = await read_all(client, topic="orders", after=0)
    assert stored["payload"] == {"total": 1}
    stats = await get_json(client, "/stats")
    assert (stats["duplicate_dropped"], stats["conflicts"]) == (1, 1)


async def test_another_source_is_a_conflict_and_another_timestamp_is_not(client: Client) -> None:
    first = published()
    await publish(client, first)
    retries: list[dict[str, Any]] = [
        first | {"timestamp": "2027-01-01T00:00:00Z"},
        first | {"source": "other"},
        first | {"source": "Shop"},
    ]
    assert statuses(await publish(client, retries)) == ["duplicate", "conflict", "conflict"]
    (stored,) = await read_all(client, topic="orders", after=0)
    assert (stored["source"], stored["timestamp"]) == ("shop", "2026-01-31T12:00:00.000000Z")


async def test_keys_are_compared_byte_for_byte(client: Client) -> None:
    ids = ["a", "A", "a ", " a", "é", "e\u0301", "a\u200b", "\ufeffa", "\uff41", "\u017f", "s", "S"]
    events = [published(event_id=event_id) for event_id in ids]
    assert statuses(await publish(client, events)) == ["stored"] * len(ids)
    topics = [published(topic=topic, event_id="a") for topic in ("t", "T", "t.", "t_", "t-")]
    assert statuses(await publish(client, topics)) == ["stored"] * len(topics)
    again = await publish(client, [*events, *topics])
    assert statuses(again) == ["duplicate"] * (len(ids) + len(topics))


async def test_a_small_event_that_repeats_a_large_one_is_compared_whole(client: Client) -> None:
    large = published(payload={"text": "x" * 100_000})
    await publish(client, large)
    cut = large | {"payload": {"text": "x" * 99_999}}
    assert statuses(await publish(client, [large, cut])) == ["duplicate", "conflict"]
    new = [each | {"event_id": "new"} for each in (large, cut, large)]
    assert statuses(await publish(client, new)) == ["stored", "conflict", "duplicate"]

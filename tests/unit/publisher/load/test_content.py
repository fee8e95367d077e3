"""What the events say: well-formed, made again byte for byte, conflicts different in one field."""

import itertools
import json
import uuid
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.ids import TimeNodeId
from publisher.load.content import MIN_PAYLOAD_BYTES, Content
from publisher.load.key_ids import ID_KINDS, KEYS_A_MS, ids_for, new_run
from publisher.load.plan import OTHER_PAYLOAD, OTHER_SOURCE, STAMPS, Plan, Shape

TOPICS = ["auth", "orders"]
RUNS = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789._-", min_size=1, max_size=100)


def content_of(plan: Plan, payload_bytes: int = 150, seed_run: str = "run") -> Content:
    return Content(plan, ids_for("uuid7", seed_run), TOPICS, payload_bytes)


PLAN = Plan(Shape(4000, 1000, 400, batch=50, topics=2, concurrency=2, seed=3))


@pytest.mark.parametrize("kind", ID_KINDS)
def test_ids_of_a_run_differ_and_can_be_made_again(kind: str) -> None:
    made = [ids_for(kind, "a")(number) for number in range(5000)]
    assert len(set(made)) == 5000
    assert made == [ids_for(kind, "a")(number) for number in range(5000)]


@pytest.mark.parametrize("kind", ID_KINDS)
def test_ids_of_two_runs_differ(kind: str) -> None:
    # Two that begin in the same millisecond have the same ids of 64 bits in one of 1,024 cases.
    runs = [new_run(), "01900000000-00000000", "a", "b", "a-e-1"]
    made = [ids_for(kind, run)(number) for run in runs for number in range(1000)]
    assert len(set(made)) == len(made)


@given(RUNS, st.integers(0, 2**40))
def test_ids_look_like_what_they_are_named_for(run: str, number: int) -> None:
    assert ids_for("numbered", run)(number) == f"{run}-e-{number}"
    for kind, version in (("uuid4", 4), ("uuid7", 7)):
        text = ids_for(kind, run)(number)
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (version, uuid.RFC_4122)
    time_node = ids_for("time-node", run)(number % 10**9)
    assert str(TimeNodeId.parse(time_node)) == time_node


@pytest.mark.parametrize("kind", ["uuid7", "time-node"])
def test_ids_of_time_ascend_with_the_number_from_the_time_in_the_name(kind: str) -> None:
    make = ids_for(kind, "19c0ffee000-a")
    made = [make(number) for number in range(10 * KEYS_A_MS)]
    assert made == sorted(made)
    first_ms, last_ms = (
        int(text[:8] + text[9:13], 16) if kind == "uuid7" else TimeNodeId.parse(text).time_ms
        for text in (made[0], made[-1])
    )
    assert (first_ms, last_ms) == (0x19C0FFEE000, 0x19C0FFEE000 + 9)


def test_every_event_is_a_line_of_json_that_says_what_its_key_says() -> None:
    content = content_of(PLAN)
    for position, (key, kind) in enumerate(zip(PLAN.keys, PLAN.kinds, strict=True)):
        event = content.event(position)
        said = json.loads(event.line)
        assert list(said) == ["topic", "event_id", "timestamp", "source", "payload"]
        assert (said["topic"], said["event_id"]) == (event.topic, event.event_id)
        assert (event.topic, event.event_id) == (content.topic(key), content.event_id(key))
        assert said["timestamp"] == content.timestamp(key, position % STAMPS)
        assert datetime.fromisoformat(said["timestamp"]).year == 2026
        same_payload = event.line.endswith(b'"payload":' + content.payload(key) + b"}")
        assert same_payload == (kind != OTHER_PAYLOAD)
        assert (json.loads(content.payload(key)) == said["payload"]) == (kind != OTHER_PAYLOAD)
        assert (said["source"] == content.source(key)) == (kind != OTHER_SOURCE)


def test_no_two_keys_say_the_same() -> None:
    content = content_of(PLAN)
    keys = range(PLAN.shape.unique)
    assert len({content.event_id(key) for key in keys}) == len(keys)
    assert len({content.payload(key) for key in keys}) == len(keys)
    assert len({content.timestamp(key, 0) for key in keys}) == len(keys)


def test_numbers_arrive_out_of_order() -> None:
    content = Content(PLAN, ids_for("numbered", "run"), TOPICS, 150)
    numbers = [
        int(content.event_id(key).removeprefix("run-e-")) for key in range(PLAN.shape.unique)
    ]
    assert sorted(numbers) == list(range(PLAN.shape.unique))
    backwards = sum(1 for one, two in itertools.pairwise(numbers) if two < one)
    assert backwards > len(numbers) / 4
    # The last block is a short one, and is no exception.
    assert numbers[-200:] != sorted(numbers[-200:])


@pytest.mark.parametrize("payload_bytes", [MIN_PAYLOAD_BYTES, 150, 5000])
def test_each_payload_is_as_large_as_asked_for(payload_bytes: int) -> None:
    content = content_of(PLAN, payload_bytes)
    for key in range(0, PLAN.shape.unique, 97):
        payload = content.payload(key)
        assert len(payload) == payload_bytes
        assert json.loads(payload)["number"] == key


def test_the_largest_key_leaves_room_in_the_least_payload() -> None:
    payload = content_of(PLAN, MIN_PAYLOAD_BYTES).payload(99_999_999)
    assert len(payload) == MIN_PAYLOAD_BYTES
    assert json.loads(payload)["number"] == 99_999_999

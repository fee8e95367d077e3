"""Settings of subscriptions as JSON: what is taken, what is refused and why, what is answered."""

import json
from typing import Any

import pytest
from msgspec import UNSET

from aggregator.wire.errors import InvalidRequest, MalformedBody
from aggregator.wire.subscription_settings import (
    parse_change,
    parse_settings,
    settings_members,
    subscription_name_rule_broken,
)
from storage.subscriptions.model import Beginning, OnDead, Order, SubscriptionSettings

DAY_MS = 86_400_000


def settings(**members: object) -> SubscriptionSettings:
    """The settings of a body; topics are given unless they are named."""
    return parse_settings(json.dumps({"topics": ["orders"]} | members).encode())


def refused(body: object) -> list[tuple[int, str, str]]:
    """The rules that the body of a PUT breaks."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidRequest) as caught:
        parse_settings(sent)
    for error in caught.value.errors:
        error.message.encode()
    return [(error.index, error.field, error.message) for error in caught.value.errors]


def test_only_topics_are_needed() -> None:
    assert settings() == SubscriptionSettings(topics=("orders",))


def test_topics_are_a_set() -> None:
    expected = ("a.*", "orders", "z")
    assert settings(topics=["z", "orders", "a.*", "z"]).topics == expected


def test_every_setting_is_taken() -> None:
    sent: dict[str, Any] = {
        "topics": ["orders.*"],
        "from": {"offsets": {"orders.a": 17}},
        "source": "shop",
        "order": "topic",
        "lease_ms": 43_200_000,
        "max_deliveries": 1000,
        "backoff_ms": [0, DAY_MS],
        "on_dead": "pause",
        "stop_after_dead": None,
        "max_leased": 1,
    }
    taken = settings(**sent)
    assert taken == SubscriptionSettings(
        topics=("orders.*",),
        begins=Beginning(offsets={"orders.a": 17}),
        source="shop",
        order=Order.TOPIC,
        lease_ms=43_200_000,
        max_deliveries=1000,
        backoff_ms=(0, DAY_MS),
        on_dead=OnDead.PAUSE,
        stop_after_dead=None,
        max_leased=1,
    )
    answered = json.loads(json.dumps(settings_members(taken)))
    assert answered == sent
    assert list(answered) == list(sent)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("start", Beginning(at="start")),
        ("now", Beginning(at="now")),
        ({"since": "2026-01-31"}, Beginning(since="2026-01-31T00:00:00.000000Z")),
        ({"since": "2026-01-31T12:00:00+01:00"}, Beginning(since="2026-01-31T11:00:00.000000Z")),
        ({"since": "2h"}, Beginning(since="2h")),
        ({"offsets": {}}, Beginning(offsets={})),
        ({"offsets": {"a": 0, "b": 2**63 - 1}}, Beginning(offsets={"a": 0, "b": 2**63 - 1})),
    ],
)
def test_beginnings_have_four_forms(sent: object, kept: Beginning) -> None:
    taken = settings(**{"from": sent})
    assert taken.begins == kept
    again = settings(**{"from": settings_members(taken)["from"]})
    assert again == taken


@pytest.mark.parametrize(
    ("member", "value", "field", "message"),
    [
        ("from", "end", "from", 'must be "start", "now", {"since": TIME} or'),
        ("from", None, "from", "not null"),
        ("from", ["start"], "from", "not an array"),
        ("from", {}, "from", "not an object of 0 members"),
        ("from", {"until": "5m"}, "from", "not an object of 'until'"),
        ("from", {"since": "5m", "offsets": {}}, "from", "not an object of 2 members"),
        ("from", {"since": 5}, "from.since", "must be a string, not a number"),
        ("from", {"since": "5x"}, "from.since", "is not an ISO 8601 date"),
        ("from", {"since": "\ud800"}, "from.since", "is not an ISO 8601 date"),
        ("from", {"since": "999999999999d"}, "from.since", "reaches back beyond the year 1"),
        ("from", {"offsets": []}, "from.offsets", "must be an object, not an array"),
        ("from", {"offsets": {"a*": 1}}, "from.offsets", "names a topic that must be 1 to 249"),
        ("from", {"offsets": {"a": -1}}, "from.offsets", "must be a whole number from 0 to"),
        ("from", {"offsets": {"a": 2**63}}, "from.offsets", "must be a whole number from 0 to"),
        ("topics", [], "topics", "must hold 1 to 100 names and patterns, not 0"),
        ("topics", [f"t{n}" for n in range(101)], "topics", "names and patterns, not 101"),
        ("topics", ["a b"], "topics", "holds a name that must be 1 to 249"),
        ("topics", ["a**"], "topics", "holds a name that must be the name of a topic, or a pat"),
        ("topics", [7], "topics", "must hold strings, not a number"),
        ("topics", "orders", "topics", "must be an array, not a string"),
        ("source", "", "source", "must be 1 to 256 characters"),
        ("source", "a\0", "source", "without control characters"),
        ("source", "\udc80", "source", "without control characters"),
        ("source", 1, "source", "must be a string, not a number"),
        ("order", "none ", "order", 'must be "topic" or "none", not \'none \''),
        ("order", None, "order", "not null"),
        ("on_dead", "stop", "on_dead", 'must be "continue" or "pause"'),
        ("lease_ms", 999, "lease_ms", "must be a whole number from 1000 to 43200000, not 999"),
        ("lease_ms", 43_200_001, "lease_ms", "not 43200001"),
        ("lease_ms", 30_000.0, "lease_ms", "not a number that is not whole"),
        ("lease_ms", True, "lease_ms", "not a boolean"),
        ("lease_ms", None, "lease_ms", "not null"),
        ("lease_ms", 10**400, "lease_ms", "not a number that is too large"),
        ("max_deliveries", 0, "max_deliveries", "must be a whole number from 1 to 1000, not 0"),
        ("max_deliveries", 1001, "max_deliveries", "not 1001"),
        ("backoff_ms", [], "backoff_ms", "must hold 1 to 100 numbers, not 0"),
        ("backoff_ms", [0] * 101, "backoff_ms", "must hold 1 to 100 numbers, not 101"),
        ("backoff_ms", [-1], "backoff_ms", "holds one that must be a whole number from 0 to"),
        ("backoff_ms", [DAY_MS + 1], "backoff_ms", "not 86400001"),
        ("backoff_ms", [True], "backoff_ms", "not a boolean"),
        ("backoff_ms", 5, "backoff_ms", "must be an array, not a number"),
        ("stop_after_dead", 0, "stop_after_dead", "must be a whole number from 1 to 1000000"),
        ("stop_after_dead", 1_000_001, "stop_after_dead", "not 1000001"),
        ("max_leased", 0, "max_leased", "must be a whole number from 1 to 100000, not 0"),
        ("max_leased", 100_001, "max_leased", "not 100001"),
        ("lease", 1, "lease", "is unknown here; known are topics, from, order, source, lease_ms"),
    ],
)
def test_a_value_that_breaks_a_rule_is_named(
    member: str, value: object, field: str, message: str
) -> None:
    ((index, named, told),) = refused({"topics": ["orders"]} | {member: value})
    assert (index, named) == (0, field)
    assert message in told


def test_every_broken_rule_is_told() -> None:
    errors = refused({"lease_ms": 0, "order": 5, "from": "x", "what": 1})
    fields = [field for _, field, _ in errors]
    assert sorted(fields) == ["from", "lease_ms", "order", "topics", "what"]
    assert ("topics", "is missing") in [(field, message) for _, field, message in errors]


def test_pause_on_dead_needs_an_order() -> None:
    ((_, field, message),) = refused({"topics": ["a"], "on_dead": "pause", "order": "none"})
    assert (field, message[:30]) == ("on_dead", '"pause" needs order "topic": w')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty; send a JSON object"),
        (b"{", "the body is not JSON: "),
        (b'{"topics": ["\xff"]}', "not UTF-8 at byte 13"),
        (b'{"lease_ms": NaN, "topics": []}', "NaN is no JSON"),
        (b'{"topics": ["a"]} {}', "the body is not JSON: Extra data"),
    ],
)
def test_what_is_no_json_is_malformed(body: bytes, message: str) -> None:
    with pytest.raises(MalformedBody, match=message):
        parse_settings(body)


@pytest.mark.parametrize("body", [b"[]", b"7", b'"x"', b"null", b"[" * 500_000])
def test_what_is_no_object_is_invalid(body: bytes) -> None:
    assert refused(body) == []


def test_one_byte_order_mark_is_skipped() -> None:
    assert parse_settings(b'\xef\xbb\xbf{"topics": ["a"]}').topics == ("a",)


def test_a_change_has_what_is_given_and_nothing_else() -> None:
    change = parse_change("billing", b'{"source": null, "backoff_ms": [5], "topics": ["b", "a"]}')
    assert (change.name, change.source, change.backoff_ms) == ("billing", None, (5,))
    assert change.topics == ("a", "b")
    assert change.lease_ms is change.stop_after_dead is change.on_dead is UNSET
    assert change.heads == {}
    assert parse_change("billing", b'{"stop_after_dead": null}').stop_after_dead is None


@pytest.mark.parametrize("member", ["from", "order"])
def test_a_change_of_what_stays_is_refused(member: str) -> None:
    value = {"from": "start", "order": "topic"}[member]
    with pytest.raises(InvalidRequest) as caught:
        parse_change("billing", json.dumps({member: value}).encode())
    (error,) = caught.value.errors
    assert (error.field, error.message[:17]) == (member, "can't be changed;")


def test_changed_values_have_the_rules_of_a_new_subscription() -> None:
    with pytest.raises(InvalidRequest, match="lease_ms must be a whole number from 1000"):
        parse_change("billing", b'{"lease_ms": 5}')
    with pytest.raises(InvalidRequest, match="nothing is unknown here"):
        parse_change("billing", b'{"nothing": 5}')


@pytest.mark.parametrize(
    ("name", "fits"),
    [("billing", True), ("a.b", True), ("...", True), (".", False), ("..", False), ("", False),
     ("a" * 249, True), ("a" * 250, False), ("a*", False), ("\xe9", False)],
)  # fmt: skip
def test_names_have_a_topics_rule_and_are_no_folders(name: str, *, fits: bool) -> None:
    assert (subscription_name_rule_broken(name) is None) == fits

"""Bodies of leases and settles: the quick way and the exact way, and what each refuses."""

import json
from typing import Any

import pytest

from aggregator.wire import settle_request
from aggregator.wire.errors import InvalidRequest, MalformedBody
from aggregator.wire.json_fields import FieldCheck
from aggregator.wire.lease_request import LeaseRequest, parse_lease
from aggregator.wire.lease_token import render_token
from aggregator.wire.settle_request import SettleRequest, kept_error, parse_settle
from aggregator.wire.subscription_moves import parse_nothing, parse_retry_dead, parse_seek
from storage.subscriptions.commands import Death, Retry, Token
from storage.subscriptions.model import Beginning

TOKEN = Token("s-1", "l-1", "worker-1", (("orders", 17, 60),))
TEXT = render_token(TOKEN)
FULL: dict[str, Any] = {
    "lease": TEXT,
    "ack": [["orders", 17, 40]],
    "retry": [{"topic": "orders", "offset": 41, "after_ms": 5000, "error": "no"}],
    "dead": [
        {"topic": "orders", "offset": 42, "error": "never"},
        {"topic": "orders", "offset": 44},
    ],
    "release": [["orders", 45, 60]],
    "extend_ms": 30_000,
}
PARSED = SettleRequest(
    token=TOKEN,
    ack=[("orders", 17, 40)],
    retry=[Retry("orders", 41, 5000, "no")],
    dead=[Death("orders", 42, "never"), Death("orders", 44)],
    release=[("orders", 45, 60)],
    extend_ms=30_000,
)


def encoded(members: object) -> bytes:
    return json.dumps(members).encode()


def errors_of(parse: Any, body: object) -> list[tuple[int, str, str]]:
    """The rules that a body breaks."""
    with pytest.raises(InvalidRequest) as caught:
        parse(body if isinstance(body, bytes) else encoded(body))
    return [(error.index, error.field, error.message) for error in caught.value.errors]


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({"consumer": "w"}, LeaseRequest("w", 100, 0)),
        (
            {"consumer": "w" * 256, "max_events": 10_000, "wait_ms": 60_000},
            LeaseRequest("w" * 256, 10_000, 60_000),
        ),
        (
            {"consumer": "\N{SNOWMAN} 1", "max_events": 1, "wait_ms": 0},
            LeaseRequest("\N{SNOWMAN} 1", 1, 0),
        ),
        ({"consumer": "w", "settle": None}, LeaseRequest("w")),
        ({"consumer": "w", "settle": FULL}, LeaseRequest("w", settle=PARSED)),
    ],
)
def test_leases_are_parsed_both_ways(members: dict[str, Any], wanted: LeaseRequest) -> None:
    assert parse_lease(encoded(members)) == wanted
    # A byte order mark is what the quick way does not take.
    assert parse_lease(b"\xef\xbb\xbf" + encoded(members)) == wanted


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"consumer": ""}, "consumer", "must be 1 to 256 characters without control"),
        ({"consumer": "w" * 257}, "consumer", "must be 1 to 256 characters"),
        ({"consumer": "a\nb"}, "consumer", "without control characters"),
        ({"consumer": "\ud800"}, "consumer", "without control characters"),
        ({"consumer": 5}, "consumer", "must be a string, not a number"),
        ({"max_events": 0}, "max_events", "must be a whole number from 1 to 10000, not 0"),
        ({"max_events": 10_001}, "max_events", "not 10001"),
        ({"max_events": 10.0}, "max_events", "not a number that is not whole"),
        ({"max_events": None}, "max_events", "not null"),
        ({"wait_ms": -1}, "wait_ms", "must be a whole number from 0 to 60000, not -1"),
        ({"wait_ms": 60_001}, "wait_ms", "not 60001"),
        ({"settle": []}, "settle", "must be an object, not an array"),
        ({"settle": {"lease": "x"}}, "settle.lease", "is not one that a lease gave"),
        ({"settle": FULL | {"ack": [["orders", 2, 1]]}}, "settle.ack", "before it begins at 2"),
        ({"settle": FULL | {"extend_ms": 1}}, "settle.extend_ms", "not 1"),
        ({"wait": 1}, "wait", "is unknown here; known are consumer, max_events, wait_ms, settle"),
    ],
)
def test_a_lease_that_breaks_a_rule_is_told_which(
    change: dict[str, Any], field: str, message: str
) -> None:
    ((_, named, told),) = errors_of(parse_lease, {"consumer": "w"} | change)
    assert named == field
    assert message in told


def test_a_lease_needs_a_consumer() -> None:
    assert errors_of(parse_lease, {}) == [(0, "consumer", "is missing")]


def test_settles_are_parsed_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    exact: list[object] = []
    read_exactly = settle_request.read_settle

    def noted(check: FieldCheck) -> SettleRequest | None:
        exact.append(check.members)
        return read_exactly(check)

    monkeypatch.setattr(settle_request, "read_settle", noted)
    assert parse_settle(encoded(FULL)) == PARSED
    assert exact == []
    assert parse_settle(b"\xef\xbb\xbf" + encoded(FULL)) == PARSED
    assert len(exact) == 1


@pytest.mark.parametrize("way", [b"", b"\xef\xbb\xbf"])
def test_a_settle_may_do_nothing(way: bytes) -> None:
    assert parse_settle(way + encoded({"lease": TEXT})) == SettleRequest(
        token=TOKEN, ack=[], retry=[], dead=[], release=[]
    )


LAST = 2**63 - 1


@pytest.mark.parametrize(
    ("change", "index", "field", "message"),
    [
        ({"lease": "bm9uc2Vuc2U"}, 0, "lease", "is not one that a lease gave"),
        ({"lease": None}, 0, "lease", "must be a string, not null"),
        ({"ack": [["orders", 1, 2], ["orders", 4, 3]]}, 1, "ack", "ends at 3, before it begins"),
        ({"release": [["orders", 2, 1]]}, 0, "release", "ends at 1, before it begins at 2"),
        ({"ack": [["orders", 0, 3]]}, 0, "ack", f"must be a whole number from 1 to {LAST}, not 0"),
        ({"ack": [["orders", 1, 2**63]]}, 0, "ack", f"not {2**63}"),
        ({"ack": [["orders", 1]]}, 0, "ack", "must be [TOPIC, FIRST, LAST]"),
        ({"ack": [["orders", 1, 2, 3]]}, 0, "ack", "must be [TOPIC, FIRST, LAST]"),
        ({"ack": [{"topic": "a"}]}, 0, "ack", "must be [TOPIC, FIRST, LAST]"),
        ({"ack": [[1, 1, 1]]}, 0, "ack", "must be the name of a topic, not a number"),
        ({"ack": [["or ders", 0, 1]]}, 0, "ack", "must be 1 to 249 characters"),
        ({"ack": [["orders", True, 1]]}, 0, "ack", "not a boolean"),
        ({"ack": {}}, 0, "ack", "must be an array, not an object"),
        ({"ack": None}, 0, "ack", "must be an array, not null"),
        ({"retry": [["orders", 1, 1]]}, 0, "retry", "must be an object, not an array"),
        ({"retry": [{"topic": "a", "offset": 1}, {"offset": 1}]}, 1, "retry.topic", "is missing"),
        ({"retry": [{"topic": "a"}]}, 0, "retry.offset", "is missing"),
        (
            {"retry": [{"topic": "a", "offset": 1, "after_ms": -1}]},
            0,
            "retry.after_ms",
            "from 0 to",
        ),
        (
            {"retry": [{"topic": "a", "offset": 1, "after_ms": 86_400_001}]},
            0,
            "retry.after_ms",
            "not 86400001",
        ),
        ({"retry": [{"topic": "a", "offset": 1, "why": ""}]}, 0, "retry.why", "is unknown here"),
        ({"dead": [{"topic": "a", "offset": 1, "error": 7}]}, 0, "dead.error", "not a number"),
        ({"dead": [{"topic": "a", "offset": 1, "after_ms": 7}]}, 0, "dead.after_ms", "is unknown"),
        ({"extend_ms": 999}, 0, "extend_ms", "must be a whole number from 1000 to 43200000"),
        ({"extend_ms": 43_200_001}, 0, "extend_ms", "not 43200001"),
        ({"nack": []}, 0, "nack", "is unknown here; known are lease, ack, retry, dead, release"),
    ],
)
def test_a_settle_that_breaks_a_rule_is_told_which(
    change: dict[str, Any], index: int, field: str, message: str
) -> None:
    ((at, named, told),) = errors_of(parse_settle, FULL | change)
    assert (at, named) == (index, field)
    assert message in told


def test_a_settle_needs_a_lease() -> None:
    assert errors_of(parse_settle, {"ack": []}) == [(0, "lease", "is missing")]


def test_null_is_no_time_and_no_error() -> None:
    entry = {"topic": "a", "offset": 1, "after_ms": None, "error": None}
    for way in (b"", b"\xef\xbb\xbf"):
        sent = way + encoded({"lease": TEXT, "retry": [entry], "extend_ms": None})
        request = parse_settle(sent)
        assert (request.retry, request.extend_ms) == ([Retry("a", 1)], None)


@pytest.mark.parametrize("way", [b"", b"\xef\xbb\xbf"])
def test_a_settle_has_10_000_entries_at_most(way: bytes) -> None:
    ranges = [["orders", n, n] for n in range(1, 9_999)]
    more = {"lease": TEXT, "ack": ranges, "dead": [{"topic": "a", "offset": 1}]}
    full = more | {"release": [["a", 1, 1]]}
    assert len(parse_settle(way + encoded(full)).ack) == 9_998
    with pytest.raises(InvalidRequest, match="10001 entries are more than 10000"):
        parse_settle(way + encoded(full | {"release": [["a", 1, 1], ["a", 2, 2]]}))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x" * 4001, "x" * 4000),
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\udc80b", "a\N{REPLACEMENT CHARACTER}b"),
        ("\N{SNOWMAN}\n\N{GRINNING FACE}", "\N{SNOWMAN}\n\N{GRINNING FACE}"),
        ("\N{ZERO WIDTH NO-BREAK SPACE}a", "\N{ZERO WIDTH NO-BREAK SPACE}a"),
        ("", ""),
    ],
)
def test_the_text_of_an_error_refuses_no_settle(text: str, kept: str) -> None:
    assert kept_error(text) == kept
    entry = {"topic": "a", "offset": 1, "error": text}
    request = parse_settle(encoded({"lease": TEXT, "retry": [entry], "dead": [entry]}))
    assert (request.retry[0].error, request.dead[0].error) == (kept, kept)


@pytest.mark.parametrize("parse", [parse_lease, parse_settle, parse_seek, parse_retry_dead])
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": Infinity}', b"{} {}"])
def test_what_is_no_json_is_malformed(parse: Any, body: bytes) -> None:
    with pytest.raises(MalformedBody):
        parse(body)


@pytest.mark.parametrize("parse", [parse_lease, parse_settle, parse_seek, parse_retry_dead])
@pytest.mark.parametrize("body", [b"[]", b"null", b'{"a":' * 100_000 + b"1" + b"}" * 100_000])
def test_what_is_no_object_is_invalid(parse: Any, body: bytes) -> None:
    assert errors_of(parse, body) == []


def test_seeks() -> None:
    assert parse_seek(b'{"from": "start"}') == (Beginning(at="start"), False)
    dry = parse_seek(b'{"from": {"offsets": {"a": 3}}, "dry_run": true}')
    assert dry == (Beginning(offsets={"a": 3}), True)
    assert errors_of(parse_seek, {}) == [(0, "from", "is missing")]
    errors = errors_of(parse_seek, {"from": "x", "dry_run": 1, "y": 2})
    assert [field for _, field, _ in errors] == ["y", "from", "dry_run"]


def test_retries_of_dead_letters() -> None:
    assert parse_retry_dead(b'{"all": true}') is None
    assert parse_retry_dead(b'{"offsets": [["a", 4, 4]]}') == [("a", 4, 4)]
    for body in ({}, {"all": True, "offsets": [["a", 1, 1]]}):
        ((_, field, message), *_) = errors_of(parse_retry_dead, body)
        assert (field, message[:22]) == ("offsets", "or all must be given: ")
    for members, field in (
        ({"all": False}, "all"),
        ({"all": 1}, "all"),
        ({"offsets": []}, "offsets"),
        ({"offsets": [["a", 1, 1]] * 10_001}, "offsets"),
        ({"offsets": [["a\0", 1, 1]]}, "offsets"),
        ({"offsets": None}, "offsets"),
    ):
        assert [each[1] for each in errors_of(parse_retry_dead, members)] == [field], members


def test_what_needs_no_body_takes_an_empty_object() -> None:
    parse_nothing(b"")
    parse_nothing(b"{}")
    assert errors_of(parse_nothing, {"reason": 1}) == [(0, "reason", "is unknown here")]


@pytest.mark.parametrize("way", [b"", b"\xef\xbb\xbf"])
def test_of_a_member_that_is_given_twice_the_last_counts(way: bytes) -> None:
    text = TEXT.encode()
    body = b'{"lease": "%b", "ack": [["a", 1, 1]], "ack": [["b", 2, 2]]}' % text
    assert parse_settle(way + body).ack == [("b", 2, 2)]

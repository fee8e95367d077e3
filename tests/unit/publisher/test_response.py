"""An answer counts only if it is the one that an aggregator gives to this very batch."""

import copy
import json
import pickle
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted import counted, encoded

from publisher.errors import (
    EventInvalid,
    EventRejected,
    NotSent,
    PublishAbandoned,
    PublishError,
    PublishGaveUp,
    PublishRefused,
    TlsError,
)
from publisher.response import TruncatedResponse, Verdict, read_outcomes

BATCH = [encoded("a"), encoded("b"), encoded("c"), encoded("d")]
RESULTS: list[dict[str, Any]] = [
    {"topic": "orders", "event_id": "a", "status": "stored", "offset": 7},
    {"topic": "orders", "event_id": "b", "status": "duplicate", "offset": 1},
    {"index": 2, "status": "rejected", "error": "source:\nis empty"},
    {"topic": "orders", "event_id": "d", "status": "conflict", "offset": 2},
]
ANSWER = counted(RESULTS)


def changed(place: int, **changes: object) -> bytes:
    """The answer with one result changed; its counts are those of the changed results."""
    results = [dict(result) for result in RESULTS]
    results[place] |= changes
    return json.dumps(counted(results)).encode()


def test_each_event_gets_its_own_outcome() -> None:
    outcomes = read_outcomes(json.dumps(ANSWER).encode(), BATCH)
    rejected = outcomes.pop(2)
    assert outcomes == [
        Verdict("orders", "a", "stored", 7),
        Verdict("orders", "b", "duplicate", 1),
        Verdict("orders", "d", "conflict", 2),
    ]
    assert isinstance(rejected, EventRejected)
    assert str(rejected) == "source: is empty"


def test_unknown_members_of_a_response_are_ignored() -> None:
    results = [result | {"ts_ingest": "2026"} for result in RESULTS]
    answer = counted(results) | {"took_ms": 3, "more": {"deep": [1]}}
    assert len(read_outcomes(json.dumps(answer).encode(), BATCH)) == 4


GARBLED = changed(0, event_id="a").replace(b'"a"', b'"\xff"')


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"<html>", "not that of an aggregator (no JSON)"),
        (b"\xff", "not that of an aggregator (no JSON)"),
        (b"[]", "not that of an aggregator (Expected `object`, got `array`)"),
        (b'{"ok": true}', "not that of an aggregator (Object missing required field `received`)"),
        (b'{"x":' + b"[" * 100_000, "not that of an aggregator (nested too deeply)"),
        (
            changed(0, event_id="a").replace(b'"a"', b'"\xff"'),
            "not that of an aggregator (not UTF-8)",
        ),
        (
            changed(0, event_id="a").replace(b'"a"', b'"\xff"')[:-9],
            "not that of an aggregator (not UTF-8)",
        ),
        (json.dumps(counted(RESULTS[:3])).encode(), "3 results for 4 events"),
        (json.dumps(counted([])).encode(), "0 results for 4 events"),
        (changed(0, topic="visits"), "result 0 is 'stored' at 7 for 'visits' 'a', sent was"),
        (changed(1, event_id="c"), "result 1 is 'duplicate' at 1 for 'orders' 'c', sent was"),
        (changed(3, offset=-1), "result 3 is 'conflict' at -1 for 'orders' 'd', sent was"),
        (changed(1, offset=0), "result 1 is 'duplicate' at 0 for 'orders' 'b', sent was"),
        (changed(0, status="kept"), "not that of an aggregator (Invalid enum value 'kept'"),
        (changed(0, offset=1.5), "not that of an aggregator (Expected `int`, got `float`"),
        (changed(2, index=1), "result 2 is for event 1"),
        (changed(2, index=None), "result 2 is for event None"),
        *(
            (json.dumps(ANSWER | {name: 2}).encode(), "its counts (")
            for name in ("received", "duplicate_dropped", "conflicts", "rejected")
            if ANSWER[name] != 2
        ),
        (json.dumps(ANSWER | {"unique_processed": 3}).encode(), "its counts ("),
        (changed(0, topic="x" * 10_000), "result 0 is 'stored' at 7 for 'xxx"),
    ],
)
def test_foreign_response_is_refused(answer: bytes, told: str) -> None:
    with pytest.raises(PublishRefused) as refused:
        read_outcomes(answer, BATCH)
    assert refused.value.status == 200
    assert refused.value.detail.startswith(told)
    assert refused.value.may_be_stored
    assert len(str(refused.value)) < 250


def test_conflict_may_tell_no_offset() -> None:
    answer = json.loads(changed(0))
    del answer["results"][3]["offset"]
    outcome = read_outcomes(json.dumps(answer).encode(), BATCH)[3]
    assert isinstance(outcome, Verdict)
    assert (outcome.status, outcome.offset) == ("conflict", 0)


@pytest.mark.parametrize("minimal", [ANSWER | {"results": []}])
def test_response_without_results_is_refused(minimal: dict[str, Any]) -> None:
    del minimal["results"]
    with pytest.raises(PublishRefused, match="missing required field `results`"):
        read_outcomes(json.dumps(minimal).encode(), BATCH)


def test_truncated_response_is_recognised() -> None:
    # Also in the middle of a character that takes three bytes.
    whole = json.dumps({"note": "€"} | ANSWER, ensure_ascii=False).encode()
    for end in range(len(whole)):
        with pytest.raises(TruncatedResponse):
            read_outcomes(whole[:end], BATCH)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_raise_only_documented_errors(answer: bytes) -> None:
    with pytest.raises((PublishRefused, TruncatedResponse)):
        read_outcomes(answer, BATCH)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["stored"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.sampled_from([*ANSWER, None]), st.sampled_from([*RESULTS[0], "index", "error"]), _JSON)
def test_any_json_raises_only_documented_errors(
    member: str | None, of_result: str, value: object
) -> None:
    answer = json.loads(json.dumps(ANSWER))
    if member is None:
        answer["results"][0][of_result] = value
    else:
        answer[member] = value
    try:
        outcomes = read_outcomes(json.dumps(answer).encode(), BATCH)
    except PublishRefused:
        return
    assert [type(outcome) for outcome in outcomes] == [Verdict, Verdict, EventRejected, Verdict]


ERRORS: list[PublishError] = [
    PublishError("it"),
    EventInvalid("it has no JSON form"),
    EventRejected("source: is empty"),
    PublishRefused(401, "Unauthorized", may_be_stored=False),
    PublishRefused(None, "the answer is not HTTP: it"),
    PublishRefused(401, "Unauthorized", may_be_stored=False, request_id="r-1"),
    TlsError(None, "the certificate does not verify", may_be_stored=False),
    PublishGaveUp(3, 300.0, "503 the queue is full", may_be_stored=True, request_id="r-1"),
    PublishGaveUp(3, 300.0, "503 the queue is full", may_be_stored=True),
    NotSent("the publisher was closed"),
    PublishAbandoned(),
    PublishAbandoned("sending failed"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_can_be_copied_and_pickled(error: PublishError) -> None:
    for twin in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert twin is not error
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_is_one_sentence(error: PublishError) -> None:
    assert str(error)
    assert "\n" not in str(error)


def test_a_verdict_can_be_copied_pickled_and_compared() -> None:
    verdict = Verdict("orders", "a", "stored", 1)
    for twin in (copy.copy(verdict), pickle.loads(pickle.dumps(verdict))):
        assert twin == verdict
    assert hash(verdict) == hash(Verdict("orders", "a", "stored", 1))
    assert msgspec.to_builtins(verdict)["offset"] == 1

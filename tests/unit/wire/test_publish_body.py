"""The body of a publish against a model built on the standard library's JSON."""

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.json_texts import damaged, objects, strings, values, wrapped
from support.publish_model import FIELDS, Outcome, outcome_of

from aggregator.wire.errors import InvalidRequest, MalformedBody, TooLarge
from aggregator.wire.event_rules import (
    Limits,
    NeedsExactCheck,
    Published,
    check_event,
    valid_event,
)
from aggregator.wire.json_masking import Masked
from aggregator.wire.publish_body import parse_publish
from storage.model import Event

EVENT = (
    b'{"topic": "a", "event_id": "b", "timestamp": "2026-01-31T12:00Z",'
    b' "source": "s", "payload": {}}'
)
LIMITS = Limits(max_events=3, max_payload_bytes=4000)


def long(length: int, character: str = "x") -> st.SearchStrategy[str]:
    return st.just(f'"{character * length}"')


TEXTS = {
    "topic": st.sampled_from(['"orders"', '"a.b_c-9"', '"\\u0061"']) | long(249),
    "event_id": st.sampled_from(['"e-1"', '"é"', '"\\ud83d\\ude00"', '" "']) | long(256, "😀"),
    "source": st.sampled_from(['"shop"', '"\\u00e9"', '"\\""', '"\x80"']) | long(256),
    "timestamp": st.sampled_from(
        ['"2026-01-31T12:00:00Z"', '"2026-01-31t12:00+07:00"', '"0001-01-01 00:00:00.1234567"']
    ),
}
WRONG_TEXTS = (
    long(250)
    | long(257)
    | long(257, "😀")
    | st.sampled_from(
        [
            '""',
            '"a b"',
            '"\\n"',
            '"\\u007f"',
            '"\\ud800"',
            "1",
            "null",
            "[]",
            "{}",
            '"2026-02-30T12:00:00Z"',
            '"0001-01-01T00:00:00+00:01"',
        ]
    )
)
NAMES = st.sampled_from([f'"{name}"' for name in FIELDS] + ['"\\u0074opic"', '"events"', '"more"'])
DEEP = wrapped(values(), st.integers(118, 132) | st.integers(0, 450))
PLAIN = objects(values(surrogates=False))
PAYLOADS = PLAIN | PLAIN | objects(values()) | objects(DEEP)


@st.composite
def events(draw: st.DrawFn) -> str:
    """The text of an event, valid more often than not."""
    members = [(name, draw(text)) for name, text in TEXTS.items()] + [("payload", draw(PAYLOADS))]
    if draw(st.integers(0, 4)) == 0:
        change = draw(st.sampled_from(["wrong", "missing", "twice", "more", "payload"]))
        place = draw(st.integers(0, len(members) - 1))
        name = members[place][0]
        match change:
            case "wrong":
                members[place] = (name, draw(WRONG_TEXTS | values() | DEEP))
            case "missing":
                del members[place]
            case "twice":
                members.insert(0, (name, draw(WRONG_TEXTS | values())))
            case "more":
                members.append((draw(strings())[1:-1], draw(values())))
            case _:
                members[-1] = ("payload", '{"a": "' + "x" * draw(st.integers(3980, 4000)) + '"}')
    members = draw(st.permutations(members)) if draw(st.booleans()) else members
    return "{" + ", ".join(f'"{name}": {text}' for name, text in members) + "}"


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A body in any form, of any few events, or something of the like."""
    few = st.lists(events(), min_size=1, max_size=3)
    entries = draw(few | few | st.lists(events() | values(), max_size=4))
    array = "[" + " ,\n".join(entries) + "]"
    forms = [
        array,
        array,
        f'{{"events": {array}}}',
        f' {{ "\\u0065vents" :{array}}}\n',
        *entries[:1],
    ]
    forms += [f'{{"events": {array}, "more": 1}}', draw(objects(values(), NAMES))]
    return draw(st.sampled_from(forms)).encode()


def found_outcome(body: bytes) -> Outcome:
    try:
        batch = parse_publish(body, ndjson=False, lenient=False, limits=LIMITS)
    except MalformedBody:
        return Outcome("malformed")
    except TooLarge:
        return Outcome("too large")
    except InvalidRequest as error:
        return Outcome("invalid", errors=frozenset((e.index, e.field) for e in error.errors))
    assert batch.rejected == {}
    return Outcome("events", tuple(map(msgspec.structs.astuple, batch.events)))


def expected_outcome(body: bytes) -> Outcome:
    return outcome_of(
        body, max_events=LIMITS.max_events, max_payload_bytes=LIMITS.max_payload_bytes
    )


@given(bodies())
@example(b'{"events": [%b], "events": [%b]}' % (EVENT, EVENT))
@example(b'{"events": [%b], "\\u0065vents": [%b]}' % (EVENT, EVENT))
@example(b'{"events": [%b]} ' % EVENT)
@example(EVENT.replace(b'"b"', b'"%b"' % (b"x" * 257)))
@example(EVENT.replace(b'"s"', b'"%b"' % (b"x" * 257)))
@example(EVENT.replace(b'"a"', b'"%b"' % (b"x" * 250)))
def test_body_is_parsed_like_the_reference_model(body: bytes) -> None:
    assert found_outcome(body) == expected_outcome(body)


@given(damaged(bodies()))
@example(b"\xef\xbb\xbf[%b]" % EVENT)
@example(b'{"events": [%b]}}' % EVENT)
@example(b"[%b]]" % EVENT)
@example(b"[%b]" % EVENT.replace(b"{}", rb'{"cut short": "\ud3d\ude00"}'))
@example(b"[%b]" % EVENT.replace(b"{}", rb'{"cut short": "\u\ude00"}'))
def test_damaged_body_is_parsed_like_the_reference_model(body: bytes) -> None:
    assert found_outcome(body) == expected_outcome(body)


@given(
    st.lists(
        events() | values() | damaged(events().map(str.encode)).map(lambda b: b.decode("latin-1")),
        min_size=1,
        max_size=3,
    )
)
def test_lenient_ndjson_accepts_exactly_the_valid_lines(lines: list[str]) -> None:
    flat = [line.replace("\n", " ").replace("\r", " ").encode() for line in lines]
    texts = [text for text in flat if text.strip(b" \t")]
    if not texts:
        return
    alone = [
        outcome_of(b"[" + text + b"]", max_events=1, max_payload_bytes=LIMITS.max_payload_bytes)
        for text in texts
    ]
    # Two values on one line would be two elements of an array, but are not JSON.
    if any(one.kind == "too large" for one in alone):
        return
    batch = parse_publish(b"\n".join(texts), ndjson=True, lenient=True, limits=LIMITS)
    assert sorted(batch.rejected) == [i for i, one in enumerate(alone) if one.kind != "events"]
    expected = [one.events[0] for one in alone if one.kind == "events"]
    assert list(map(msgspec.structs.astuple, batch.events)) == expected


@given(st.lists(events(), min_size=1, max_size=3))
def test_lenient_handling_accepts_exactly_the_valid_events(entries: list[str]) -> None:
    body = ("[" + ",".join(entries) + "]").encode()
    alone = [found_outcome(entry.encode()) for entry in entries]
    if any(outcome.kind == "too large" for outcome in alone):
        return
    batch = parse_publish(body, ndjson=False, lenient=True, limits=LIMITS)
    taken = [outcome.events[0] for outcome in alone if outcome.kind == "events"]
    assert list(map(msgspec.structs.astuple, batch.events)) == taken
    refused = [i for i, outcome in enumerate(alone) if outcome.kind == "invalid"]
    assert sorted(batch.rejected) == refused
    assert all(batch.rejected.values())


@given(events())
@example(EVENT.decode().replace("{", '{"topic": 1, ', 1))
def test_fast_parser_accepts_only_events_of_the_exact_parser(text: str) -> None:
    raw = text.encode()
    try:
        fast: Event | None = valid_event(msgspec.json.decode(raw, type=Published), Limits())
    except (msgspec.DecodeError, NeedsExactCheck, RecursionError):
        fast = None
    masked = Masked(raw, flatten=True)
    exact = check_event(masked.body, 0, Limits(), masked)
    if fast is not None:
        assert exact == fast
        assert check_event(raw, 0, Limits(), None) == fast
    else:
        # What it passes on is wrong, holds a lone surrogate, or has a field twice, the first wrong.
        assert not isinstance(exact, Event) or "\\u" in text.lower() or has_field_twice(text)


def has_field_twice(text: str) -> bool:
    members: list[tuple[str, object]] = []
    # The outermost object is the last to be complete.
    json.loads(text, object_pairs_hook=lambda pairs: members.__setitem__(slice(None), pairs))
    return any([name for name, _ in members].count(field) > 1 for field in FIELDS)


@given(events())
def test_needless_mask_changes_no_result(text: str) -> None:
    raw = text.encode()
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
        plain = check_event(raw, 3, Limits(), None)
    except msgspec.DecodeError:
        return
    masked = Masked(raw, flatten=True)
    assert check_event(masked.body, 3, Limits(), masked) == plain


def test_ndjson_blank_lines_are_skipped() -> None:
    batch = parse_publish(b"\n" + EVENT + b"\r\n \t\n", ndjson=True, lenient=False, limits=Limits())
    assert [event.event_id for event in batch.events] == ["b"]


def test_nesting_of_any_depth_is_parsed_or_refused() -> None:
    """Each decoder meets the recursion limit at a depth of its own; every one is tried."""
    before = '{"topic": "t", "event_id": "e", "timestamp": "2026-01-31T12:00:00Z", "source": "s", '
    good = (before + '"payload": {}}').encode()
    for depth in range(780, 1020):
        deep = (before + '"payload": {"a": ' + "[" * depth + "]" * depth + "}}").encode()
        for body, ndjson in ((b"[%b, %b]" % (good, deep), False), (good + b"\n" + deep, True)):
            batch = parse_publish(body, ndjson=ndjson, lenient=True, limits=Limits())
            assert len(batch.events) == 1
            assert list(batch.rejected) == [1]


def test_repeated_fields_of_any_number_are_parsed() -> None:
    rest = '"event_id": "e", "timestamp": "2026-01-31T12:00:00Z", "source": "s", "payload": {}}'
    for value in ('"x"', '"\\ud800"', "5"):
        body = "{" + f'"topic": {value}, ' * 1500 + '"topic": "t", ' + rest
        batch = parse_publish(body.encode(), ndjson=False, lenient=False, limits=Limits())
        assert [event.topic for event in batch.events] == ["t"]


def test_oversized_payload_is_refused_before_other_rules() -> None:
    rest = '"topic": "t", "event_id": "e", "timestamp": "2026-01-31T12:00:00Z", "source": "s"'
    for members in (1, 2000):
        unknown = ", ".join(f'"x{number}": 0' for number in range(members))
        for size, expected in ((10, InvalidRequest), (2**20, TooLarge)):
            body = f'{{{unknown}, {rest}, "payload": {{"text": "{"x" * size}"}}}}'.encode()
            with pytest.raises(expected):
                parse_publish(body, ndjson=False, lenient=False, limits=Limits())

"""The header `traceparent`, as W3C Trace Context has it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.wire.traceparent import Traceparent, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{SPAN}-01"
LOWER_HEX = set("0123456789abcdef")


@pytest.mark.parametrize(
    ("sent", "flags"),
    [
        (VALID, 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-ff", 255),
        (f"00-{TRACE}-{SPAN}-03", 3),
        (f"01-{TRACE}-{SPAN}-01", 1),
        (f"01-{TRACE}-{SPAN}-01-", 1),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", 1),
        (f"fe-{TRACE}-{SPAN}-01-\x85\n", 1),
        (f"00-{'0' * 31}1-{SPAN}-01", 1),
        (f"00-{TRACE}-{'0' * 15}1-01", 1),
    ],
)
def test_valid_traceparent_is_parsed(sent: str, flags: int) -> None:
    found = parse_traceparent([sent])
    assert found == Traceparent(sent[3:35], sent[36:52], flags)


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "00",
        VALID[:-1],
        VALID + "0",
        VALID + "-",
        VALID + "-what-the-future-will-be-like",
        VALID + "\n",
        f" {VALID}",
        f"{VALID},{VALID}",
        VALID.upper(),
        VALID.replace("0af7", "0AF7"),
        VALID.replace("b7ad", "B7ad"),
        f"ff-{TRACE}-{SPAN}-01",
        f"FE-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01",
        f"0x-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"01-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0F",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-.1",
        f"01-{TRACE}-{SPAN}-01.what",
        f"01-{TRACE}-{SPAN}-011",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE}{SPAN}-01",
        "\udcff" * 55,
    ],
)
def test_invalid_traceparent_is_none(sent: str) -> None:
    assert parse_traceparent([sent]) is None


def test_repeated_traceparent_is_none() -> None:
    assert parse_traceparent([]) is None
    assert parse_traceparent([VALID, VALID]) is None


def by_place(sent: str) -> Traceparent | None:
    """The same in the words of the recommendation, which has every field at its place."""
    if len(sent) < 55 or [sent[place] for place in (2, 35, 52)] != ["-"] * 3:
        return None
    version, trace_id, span_id, flags = sent[:2], sent[3:35], sent[36:52], sent[53:55]
    if set(version + trace_id + span_id + flags) - LOWER_HEX:
        return None
    if version == "ff" or not int(trace_id, 16) or not int(span_id, 16):
        return None
    if len(sent) > 55 and (version == "00" or sent[55] != "-"):
        return None
    return Traceparent(trace_id, span_id, int(flags, 16))


def field(digits: int) -> st.SearchStrategy[str]:
    return st.just("0" * digits) | st.text("0123456789abcdef", min_size=digits, max_size=digits)


FIELDS = st.tuples(st.sampled_from(["00", "ff"]) | field(2), field(32), field(16), field(2))
ANYTHING = st.text(string.hexdigits + "-,. \n\u0661", max_size=8) | st.text(max_size=3)


@given(FIELDS.map("-".join), ANYTHING, st.integers(0, 56), st.integers(0, 2), ANYTHING)
def test_any_text_is_parsed_like_a_reference_parser(
    sound: str, behind: str, place: int, cut: int, put_in: str
) -> None:
    sent = sound + behind
    assert parse_traceparent([sent]) == by_place(sent)
    changed = sent[:place] + put_in + sent[place + cut :]
    assert parse_traceparent([changed]) == by_place(changed)

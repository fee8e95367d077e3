"""What Hypothesis draws: events put together from pools so small that they repeat."""

import json
from decimal import Decimal
from typing import Any, NamedTuple

from hypothesis import strategies as st

from storage.model import MAX_TIME_US, MIN_TIME_US, Event

TOPICS = ["orders", "Orders", "orders.", "a-b_c.1"]

# Differ by case, by normalisation, by a space; and what a JSON or SQL quotation may trip over.
EVENT_IDS = [
    "e-1",
    "E-1",
    "e-1 ",
    " e-1",
    "caf\u00e9",
    "cafe\u0301",
    "\u65e5\u672c",
    "\U0001f600",
    '"',
    "\\",
    "\\u0041",
    "'",
    "{1,2}",
    "\u0080",
    "\uffff",
    "\u2028",
    "null",
    "1",
]

SOURCES = ["shop", "Shop", "shop ", "\u00fc"]

PAYLOADS: list[dict[str, Any]] = [
    {},
    {"n": Decimal(1)},
    {"n": True},
    {"n": "1"},
    {"n": None},
    {"n": Decimal("1.1")},
    {"n": Decimal("0.1")},
    {"n": Decimal("0.1000000000000000055511151231257827021181583404541015625")},
    {"n": Decimal(12345678901234567890)},
    {"n": Decimal(12345678901234567891)},
    {"n": Decimal(0)},
    {"n": [Decimal(1), Decimal(2)]},
    {"n": [Decimal(2), Decimal(1)]},
    {"n": {"a": Decimal(-2), "b": "x"}, "m": [False]},
    {"n": {"a": Decimal(-2), "b": "x"}, "m": [Decimal(0)]},
    {"s": '\u00e9\u0000/"'},
    {"s": 'e\u0301\u0000/"'},
    {"s": "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")},
    {"large": "x" * 5000},
    {"large": "x" * 4999 + "y"},
]

_SPACES = ["", " ", "\n\t", "\r\n"]


@st.composite
def spelled(draw: st.DrawFn, value: Any) -> str:
    """One of the many JSON texts of a value; numbers are Decimals."""
    space = draw(st.sampled_from(_SPACES))
    return space + _text(draw, value) + draw(st.sampled_from(_SPACES))


def _text(draw: st.DrawFn, value: Any) -> str:
    if isinstance(value, dict):
        members = [(n, _text(draw, member)) for n, member in value.items()]
        order: list[int] = list(draw(st.permutations(range(len(members)))))
        members = [members[number] for number in order]
        repeated = bool(members) and draw(st.booleans())
        if repeated:
            # Of a repeated key the last counts.
            members.insert(0, (members[-1][0], draw(st.sampled_from(["7", '"old"', "{}"]))))
        space = draw(st.sampled_from(_SPACES))
        return "{" + f",{space}".join(f"{_string(draw, n)}{space}:{m}" for n, m in members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_text(draw, element) for element in value) + "]"
    if isinstance(value, Decimal):
        return _number(draw, value)
    if isinstance(value, str):
        return _string(draw, value)
    return json.dumps(value)


def _string(draw: st.DrawFn, text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=draw(st.booleans()))
    if len(text) < 10 and draw(st.booleans()):
        escaped = "".join(f"\\u{code:04X}" for code in _utf16(text)).join('""')
    return escaped


def _utf16(text: str) -> list[int]:
    data = text.encode("utf-16-be")
    return [data[i] * 256 + data[i + 1] for i in range(0, len(data), 2)]


def _number(draw: st.DrawFn, value: Decimal) -> str:
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    more = draw(st.integers(0, 3))
    # digits + zeros, then the point moved, then the exponent that moves it back
    whole = "".join(map(str, digits)) + "0" * more
    exponent -= more
    point = draw(st.integers(1, len(whole)))
    if int(whole) and whole[0] == "0":
        point = 1
    elif not int(whole):
        whole, point = "0" * len(whole), 1
    fraction = f".{whole[point:]}" if whole[point:] else ""
    moved = exponent + len(whole) - point
    power = "" if not moved and draw(st.booleans()) else draw(st.sampled_from("eE")) + str(moved)
    minus = "-" if sign or (not int(whole) and draw(st.booleans())) else ""
    return f"{minus}{whole[:point]}{fraction}{power}"


@st.composite
def pools(draw: st.DrawFn) -> "Pool":
    """Few keys and contents, so that what is drawn from the pool repeats."""
    neighbours = draw(st.integers(0, len(PAYLOADS) - 3))
    return Pool(
        topics=draw(st.lists(st.sampled_from(TOPICS), min_size=1, max_size=3, unique=True)),
        event_ids=draw(st.lists(st.sampled_from(EVENT_IDS), min_size=1, max_size=4, unique=True)),
        sources=draw(st.sampled_from([SOURCES[:1], SOURCES])),
        payloads=PAYLOADS[neighbours : neighbours + 3],
    )


class Pool(NamedTuple):
    """What events are put together from."""

    topics: list[str]
    event_ids: list[str]
    sources: list[str]
    payloads: list[dict[str, Any]]

    def events(self) -> st.SearchStrategy[Event]:
        """An event that likely repeats another one's key, often with its content too."""
        return st.builds(
            Event,
            topic=st.sampled_from(self.topics),
            event_id=st.sampled_from(self.event_ids),
            timestamp_us=st.sampled_from([0, 1, MIN_TIME_US, MAX_TIME_US - 1]),
            source=st.sampled_from(self.sources),
            payload=st.sampled_from(self.payloads).flatmap(spelled),
        )

    def batches(self) -> st.SearchStrategy[list[Event]]:
        """A request's worth of events."""
        return st.lists(self.events(), min_size=1, max_size=6)

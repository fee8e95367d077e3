"""JSON as text, for Hypothesis: with every freedom that RFC 8259 gives a sender."""

import json

from hypothesis import strategies as st

_WHITE_SPACE = st.text(alphabet=" \t\r\n", max_size=2)
_ESCAPES = [
    "\\n",
    "\\/",
    '\\"',
    "\\\\",
    "\\\\u0041",
    "\\u0000",
    "\\u00e9",
    "\\u00E9",
    "\\ud83d\\ude00",
    "\\ud800\\udc00",
    "\\uDBFF\\uDFFF",
]
LONE_SURROGATES = ["\\ud800", "\\uDFFF", "\\udc00\\ud800", "\\uD800\\u0041", "\\\\\\udead"]
_PLAIN = st.characters(exclude_characters='"\\', exclude_categories=["Cs"], min_codepoint=0x20)


def strings(*, surrogates: bool = True) -> st.SearchStrategy[str]:
    """A string's text, quotes included; `surrogates`: also escaped lone ones."""
    escapes = st.sampled_from(_ESCAPES + (LONE_SURROGATES if surrogates else []))
    brackets = st.sampled_from(["{", "}", "[", "]", "{[", "]}", ","])
    return st.lists(_PLAIN | escapes | brackets, max_size=6).map(lambda p: f'"{"".join(p)}"')


_NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?", fullmatch=True
)
_LITERALS = st.sampled_from(["null", "true", "false"])


@st.composite
def _objects(draw: st.DrawFn, values: st.SearchStrategy[str], names: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(st.tuples(names, values), max_size=4))
    repeat = draw(st.booleans())
    if members and repeat:
        members.append((members[0][0], draw(values)))
    return _joined(
        draw, "{", [f"{n}{draw(_WHITE_SPACE)}:{draw(_WHITE_SPACE)}{v}" for n, v in members], "}"
    )


@st.composite
def _arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    return _joined(draw, "[", draw(st.lists(values, max_size=4)), "]")


def _joined(draw: st.DrawFn, left: str, parts: list[str], right: str) -> str:
    spaced = [f"{draw(_WHITE_SPACE)}{part}{draw(_WHITE_SPACE)}" for part in parts]
    return left + (",".join(spaced) or draw(_WHITE_SPACE)) + right


@st.composite
def wrapped(draw: st.DrawFn, inner: st.SearchStrategy[str], levels: st.SearchStrategy[int]) -> str:
    """A value with many containers around it."""
    left, right = draw(st.sampled_from([("[", "]"), ('{"a":', "}"), ('{"}":', ',"]":[]}')]))
    times = draw(levels)
    return left * times + draw(inner) + right * times


def values(
    *, surrogates: bool = True, names: st.SearchStrategy[str] | None = None
) -> st.SearchStrategy[str]:
    """The text of any JSON value."""
    texts = strings(surrogates=surrogates)
    return st.recursive(
        _NUMBERS | _LITERALS | texts,
        lambda inner: _arrays(inner) | _objects(inner, texts if names is None else names),
        max_leaves=8,
    )


def objects(
    values: st.SearchStrategy[str], names: st.SearchStrategy[str] | None = None
) -> st.SearchStrategy[str]:
    """The text of any JSON object."""
    return _objects(values, strings() if names is None else names)


@st.composite
def damaged(draw: st.DrawFn, texts: st.SearchStrategy[bytes]) -> bytes:
    """A text with a few bytes changed, left out, put in or cut off; still JSON, now and then."""
    text = bytearray(draw(texts))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 2))
        new = draw(
            st.sampled_from(
                [
                    b"",
                    b'"',
                    b"\\",
                    b"{",
                    b"]",
                    b",",
                    b":",
                    b" ",
                    b"\xff",
                    b"\n",
                    b"0",
                    b"\\ud800",
                    b"\xed\xa0\x80",
                ]
            )
        )
        text[place : place + length] = new
    return bytes(text)


def is_json(text: bytes) -> bool:
    """Whether the standard library takes this for JSON in UTF-8, as RFC 8259 has it."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text.decode(), parse_constant=refuse, parse_int=str, parse_float=str)
    except ValueError:
        return False
    return True


def depth_of(text: str) -> int:
    """How deep a JSON text nests: a counter, character by character."""
    depth = deepest = place = 0
    inside = False
    while place < len(text):
        character = text[place]
        if inside:
            if character == "\\":
                place += 1
            inside = character != '"'
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
        else:
            inside = character == '"'
        place += 1
    return deepest

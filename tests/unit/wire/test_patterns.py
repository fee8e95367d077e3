"""Patterns that give nothing back, held against plain readings of the same texts.

Such groups are what makes them linear, and the oldest Python supported ends some of them in
the wrong place. A reading character by character has no such group.
"""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aggregator.wire import json_array_length, json_masking
from aggregator.wire.headers import Preferences, parse_prefer

JSON_LIKE = st.text('"\\[]{},ué', max_size=20) | st.text('"\\u[', max_size=40)
PREFER_LIKE = st.lists(
    st.sampled_from(["return", "handling", "minimal", "lenient", "other"])
    | st.text('=;," \t\\xR/', min_size=1, max_size=4),
    max_size=14,
).map("".join)


def strings_and(marks: str, text: str) -> list[str]:
    """Every string of a text, one that never ends included, and every mark outside of them."""
    found = []
    place = 0
    while place < len(text):
        start = place
        place += 1
        if text[start] == '"':
            while place < len(text) and text[place] != '"':
                place += 2 if text[place] == "\\" else 1
            place = min(place + 1, len(text))
            found.append(text[start:place])
        elif text[start] in marks:
            found.append(text[start])
    return found


@pytest.mark.parametrize(
    ("pattern", "marks"),
    [(json_masking._STRING_OR_BRACKET, "[]{}"), (json_array_length._TOKEN, "[]{},")],
)
@given(text=JSON_LIKE)
@example(text='"\\')
@example(text='["a\\"]",{"b\\\\":[]}')
def test_string_pattern_matches_whole_strings(
    pattern: re.Pattern[bytes], marks: str, text: str
) -> None:
    found = [token[0].decode() for token in pattern.finditer(text.encode())]
    assert found == strings_and(marks, text)


def members(header: str) -> list[str]:
    """The members of a list in a header: a comma in quotes parts none."""
    parts = [""]
    place = 0
    while place < len(header):
        if header[place] == '"':
            string = strings_and("", header[place:])[0]
            parts[-1] += string
            place += len(string)
            continue
        if header[place] == ",":
            parts.append("")
        else:
            parts[-1] += header[place]
        place += 1
    return parts


def preference(member: str) -> tuple[str, str] | None:
    """The name and the value of one preference; None if it can't be read."""
    rest = member.lstrip(" \t")
    name = rest[: len(rest) - len(rest.lstrip("abcdefghijklmnopqrstuvwxyzR"))]
    rest = rest[len(name) :].lstrip(" \t")
    value = ""
    if rest.startswith("="):
        rest = rest[1:].lstrip(" \t")
        if rest.startswith('"'):
            string = strings_and("", rest)[0]
            value = string[1:-1]
            if len(string) < 2 or strings_and("", f"{string}x")[0] != string:
                return None
            rest = rest[len(string) :]
        else:
            value = re.split('[",; \t]', rest, maxsplit=1)[0]
            rest = rest[len(value) :]
        rest = rest.lstrip(" \t")
    if not name or (rest and not rest.startswith(";")):
        return None
    return name.lower(), value.lower()


@given(st.lists(PREFER_LIKE, max_size=3))
@example(['return="minimal" ;x="a,b"', 'handling="lenient'])
@example(['return="', 'minimal"', "handling=lenient"])
@example(["return==minimal,handling=lenient=x"])
def test_preference_pattern_matches_like_a_reference_parser(headers: list[str]) -> None:
    told: dict[str, str] = {}
    for member in members(",".join(headers)):
        if (read := preference(member)) is not None:
            told.setdefault(*read)
    expected = Preferences(told.get("return") == "minimal", told.get("handling") == "lenient")
    assert parse_prefer(headers) == expected

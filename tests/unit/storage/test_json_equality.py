"""Payloads are compared as JSON values: exactly, in any spelling, for numbers of any size."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reference import json_value
from support.strategies import PAYLOADS, spelled

from storage.json_equality import same_json

_DIGITS = st.text("0123456789", min_size=1, max_size=6)


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """Any JSON number with an exponent up to three digits."""
    whole = draw(_DIGITS).lstrip("0") or "0"
    fraction = draw(st.just("") | _DIGITS.map(".".__add__))
    power = draw(st.just("") | st.sampled_from(["e0", "E+01", "e-1", "e2", "e-3", "E007", "e120"]))
    return draw(st.sampled_from(["", "-"])) + whole + fraction + power


@given(numbers(), numbers())
def test_numbers_are_equal_exactly_if_their_fractions_are(left: str, right: str) -> None:
    assert same_json(left, right) == (Fraction(left) == Fraction(right))


@given(numbers(), st.integers(1, 6))
def test_zeros_at_the_end_of_the_fraction_change_nothing(number: str, places: int) -> None:
    mantissa, _, power = number.lower().partition("e")
    moved = f"{mantissa}{'' if '.' in mantissa else '.'}{'0' * places}e{power or 0}"
    assert same_json(number, moved)


@given(st.data())
def test_two_spellings_are_equal_exactly_if_their_values_are(data: st.DataObject) -> None:
    left = data.draw(st.sampled_from(PAYLOADS).flatmap(spelled))
    right = data.draw(st.sampled_from(PAYLOADS).flatmap(spelled))
    assert same_json(left, right) == (json_value(left) == json_value(right))


@given(st.data())
def test_one_value_is_equal_in_all_its_spellings(data: st.DataObject) -> None:
    value = data.draw(st.sampled_from(PAYLOADS))
    assert same_json(data.draw(spelled(value)), data.draw(spelled(value)))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
)
def test_any_value_is_equal_to_itself_escaped_and_spread_out(value: object) -> None:
    assert same_json(json.dumps(value, ensure_ascii=False), json.dumps(value, indent=3))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1", "1.0"),
        ("1", "10e-1"),
        ("100", "1E+2"),
        ("0", "-0"),
        ("0", "-0.000e-999"),
        ("0e5", "0"),
        ("0.10", "1e-1"),
        ("12345678901234567890", "1.2345678901234567890E19"),
        ('{"a":1,"a":2}', '{"a":2}'),
        ('{"a":1,"b":2}', ' {"b" : 2,\n"a":1}'),
        ('"\\u00e9\\/"', '"\u00e9/"'),
        ('"\\ud83d\\ude00"', '"\U0001f600"'),
        ('"\\ud800"', '"\\uD800"'),
    ],
)
def test_same(left: str, right: str) -> None:
    assert same_json(left, right)
    assert same_json(right, left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1", "true"),
        ("0", "false"),
        ("0", "null"),
        ("1", '"1"'),
        ("[1]", "1"),
        ("[1,2]", "[2,1]"),
        ("{}", "[]"),
        ("1", "-1"),
        ("0.1", "0.10000000000000001"),
        ("9007199254740993", "9007199254740992"),
        ("1e400", "1e401"),
        ("1e-400", "0"),
        ('{"a":1,"a":2}', '{"a":1}'),
        ('"\u00e9"', '"e\u0301"'),
        ('"\\ud800"', '"\\ud801"'),
        ('["",[],0]', '["","",0]'),
    ],
)
def test_different(left: str, right: str) -> None:
    assert not same_json(left, right)
    assert not same_json(right, left)


@pytest.mark.parametrize("digits", [5_000, 999_000, 1_048_560])
def test_exponents_as_long_as_a_payload_are_compared_exactly(digits: int) -> None:
    nines, power = "9" * digits, "1" + "0" * digits
    assert same_json(f"10e{nines}", f"1e{power}")
    assert same_json(f"0.1e-{nines}", f"1e-{power}")
    assert not same_json(f"1e{nines}", f"10e{nines}")
    assert not same_json(f"1e{nines}", f"1e-{nines}")
    assert same_json(f"0e{nines}", "0")
    assert same_json(f"1e{'0' * digits}2", "100")


def test_a_million_digits_are_compared_exactly() -> None:
    many = "123456789" * 110_000
    assert same_json(many, f"{many[0]}.{many[1:]}e{len(many) - 1}")
    assert not same_json(many, many[:-1] + "8")
    assert same_json(f"0.{'0' * 10**6}1", f"1e-{10**6 + 1}")

"""Are two JSON texts the same value? Exactly, for numbers of any size.

The contract compares a repeated event's payload as a JSON value: strings after unescaping,
numbers by exact decimal value (`1`, `1.0` and `10e-1` are equal), the last of a repeated
key, arrays in order. A `float` would call 0.1 and 0.10000000000000001 equal, and a `Decimal`
overflows at an exponent that JSON allows.
"""

import json
from decimal import MAX_EMAX, Context, Decimal
from typing import Any

_Number = tuple[str, str, Decimal]

_ZERO: _Number = ("", "", Decimal(0))


def same_json(left: str, right: str) -> bool:
    """Whether two valid JSON texts denote the same value.

    Linear in the length of both texts. The texts must be valid JSON, nested less deep than
    the interpreter's recursion limit.
    """
    return left == right or _value(left) == _value(right)


def _value(text: str) -> Any:
    # A number becomes a tuple, which equals neither a list nor True: Python's 1 == True.
    return json.loads(text, parse_float=_number, parse_int=_number)


def _number(text: str) -> _Number:
    """A number as (sign, significant digits, power of ten), one form for each decimal value."""
    mantissa, _, exponent = text.lower().partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return _ZERO
    significant = digits.rstrip("0")
    shift = len(digits) - len(significant) - len(fraction)
    # int() refuses an exponent of more than 4,300 digits, a limit against quadratic time;
    # decimal addition is linear, and exact as long as precision and range cover every digit.
    exact = Context(prec=len(exponent) + 20, Emax=MAX_EMAX)
    return sign, significant, exact.add(Decimal(exponent or "0"), Decimal(shift))

"""Fields of an entry in the tokens file: each is checked, and becomes its value."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from aggregator.access.entries import Digest
from aggregator.access.tokens import PREFIX, masked
from aggregator.wire.event_rules import name_rule_broken
from aggregator.wire.timestamps import parse_timestamp
from aggregator.wire.topic_selection import selection_rule_broken
from storage.model import INT64_MAX

JWT_NAMES = "jwt:"
"""What the names of those begin with who come with a JWT."""

_MAX_SHOWN = 64
_hexadecimal = re.compile(r"[0-9A-Fa-f]{64}").fullmatch
_certificate = re.compile(r"(?:DNS|URI|CN):[^\x00-\x1f\x7f\ud800-\udfff]+").fullmatch
_HEXADECIMAL_RULE = "must be the SHA-256 of a token in 64 hexadecimal digits"


class FieldBroken(ValueError):
    """A field breaks a rule; the message is the end of a sentence that begins with its name."""


def entry_name(value: object) -> str:
    """Check the name of an entry."""
    if not isinstance(value, str):
        raise FieldBroken(f"must be a text, not {_shown(value)}")
    if broken := name_rule_broken(value):
        raise FieldBroken(masked(broken))
    if value.startswith(JWT_NAMES):
        raise FieldBroken(
            f"must not begin with {JWT_NAMES!r}, as the names of those with a JWT do, "
            f"not {_shown(value)}"
        )
    return value


def digests(value: object) -> tuple[Digest, ...]:
    """Check the list of an entry's digests."""
    if not isinstance(value, list):
        raise FieldBroken(f"must be a list, not {_shown(value)}")
    return tuple(map(_digest, value))


def patterns(value: object) -> tuple[str, ...]:
    """Check a list of names and patterns."""
    if not isinstance(value, list):
        raise FieldBroken(f"must be a list of names and patterns, not {_shown(value)}")
    for each in value:
        if not isinstance(each, str):
            raise FieldBroken(f"must have names and patterns alone, not {_shown(each)}")
        if broken := selection_rule_broken(each):
            raise FieldBroken(masked(broken))
    return tuple(value)


def flag(value: object) -> bool:
    """Check a flag."""
    if not isinstance(value, bool):
        raise FieldBroken(f"must be true or false, not {_shown(value)}")
    return value


def source(value: object) -> str:
    """Check the source that events have."""
    if not isinstance(value, str):
        raise FieldBroken(f"must be a text, not {_shown(value)}")
    if broken := name_rule_broken(value):
        raise FieldBroken(masked(broken))
    return value


def expires_us(value: object) -> int:
    """Check a date-time of TOML or a text of RFC 3339; returns microseconds since the epoch."""
    if isinstance(value, datetime):
        text = value.isoformat()
    elif isinstance(value, str):
        text = value
    else:
        raise FieldBroken(f"must be a date-time such as 2026-01-31T12:00:00Z, not {_shown(value)}")
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise FieldBroken(f"{error}: {_shown(text)}") from None


def certificate(value: object) -> str:
    """Check the name of a client certificate."""
    if not isinstance(value, str) or _certificate(value) is None:
        raise FieldBroken(
            f"must be a name with its kind, DNS:…, URI:… or CN:…, not {_shown(value)}"
        )
    return value


def whole_number(minimum: int) -> Callable[[object], int]:
    """Return the check of a limit, which is a whole number of at least `minimum`."""

    def check(value: object) -> int:
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or not minimum <= value <= INT64_MAX
        ):
            raise FieldBroken(f"must be a whole number of at least {minimum}, not {_shown(value)}")
        return value

    return check


def _digest(value: object) -> Digest:
    if not isinstance(value, dict):
        return Digest(_bytes(value))
    table: dict[str, Any] = value
    if unknown := sorted(table.keys() - {"digest", "expires"}):
        raise FieldBroken(f"has a table with {_shown(unknown[0])}; digest and expires are known")
    if "digest" not in table:
        raise FieldBroken(f"has a table without a digest, {_shown(value)}")
    if "expires" not in table:
        return Digest(_bytes(table["digest"]))
    try:
        return Digest(_bytes(table["digest"]), expires_us(table["expires"]))
    except FieldBroken as error:
        if str(error).startswith(_HEXADECIMAL_RULE):
            raise
        raise FieldBroken(f"has a digest whose expires {error}") from None


def _bytes(value: object) -> bytes:
    if isinstance(value, str) and value.startswith(PREFIX):
        raise FieldBroken(
            f"{_HEXADECIMAL_RULE}, not a token itself; that one is known to who reads the file, "
            "so make a new one"
        )
    if not isinstance(value, str) or _hexadecimal(value) is None:
        raise FieldBroken(f"{_HEXADECIMAL_RULE}, not {_shown(value)}")
    return bytes.fromhex(value)


def _shown(value: object) -> str:
    # Python refuses to print whole numbers of thousands of digits.
    if isinstance(value, int) and abs(value) > INT64_MAX:
        return "a larger one" if value > 0 else "a smaller one"
    try:
        text = value if isinstance(value, str) else str(value)
    except ValueError:
        return "what it is"
    text = masked(text)
    cut = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
    return repr(cut) if isinstance(value, str) else cut

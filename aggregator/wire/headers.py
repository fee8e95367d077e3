"""Parsers of the request headers Prefer, Content-Type and Content-Encoding."""

import re
from collections.abc import Mapping, Sequence
from email.message import Message
from typing import NamedTuple

from aggregator.wire.errors import UnsupportedMediaType

# Linear time for any text: no part of it can be matched in two ways.
_LIST_MEMBER = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))++', re.DOTALL)
_PREFERENCE = re.compile(
    r"[ \t]*+(?P<name>[!#$%&\'*+.^_`|~0-9A-Za-z-]++)[ \t]*+"
    r'(?:=[ \t]*+(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"|(?P<value>[^",; \t]*+)))?+[ \t]*+(?:;.*)?',
    re.DOTALL,
)

_SECONDS = re.compile(r"0{0,100}[0-9]{1,2}", re.ASCII)

MAX_WAIT_S = 60
"""Longest time that `Prefer: wait` may ask for, in seconds."""

_FORM = "application/x-www-form-urlencoded"


class Preferences(NamedTuple):
    """The preferences of a publish (RFC 7240).

    Args:
        minimal: `return=minimal`, a response without the results of valid events.
        lenient: `handling=lenient`, which stores the valid events beside rejected ones.
    """

    minimal: bool
    lenient: bool

    @property
    def applied(self) -> str:
        """The value of `Preference-Applied`, empty without a preference."""
        preferences = (("return=minimal", self.minimal), ("handling=lenient", self.lenient))
        return ", ".join(text for text, applies in preferences if applies)


def parse_prefer(headers: Sequence[str]) -> Preferences:
    """Parse the preferences of a request; of one given twice, the first counts.

    A preference that is unknown or malformed is ignored, as RFC 7240 demands.

    Args:
        headers: the values of all `Prefer` headers.

    Returns:
        The preferences of a publish.
    """
    seen = _preferences(headers)
    return Preferences(seen.get("return") == "minimal", seen.get("handling") == "lenient")


def parse_wait(headers: Sequence[str]) -> int | None:
    """Parse the preference `wait` of a read; of one given twice, the first counts.

    Args:
        headers: the values of all `Prefer` headers.

    Returns:
        Seconds from 1 to `MAX_WAIT_S`; None without the preference, or if it is out of this range
        or malformed.
    """
    value = _preferences(headers).get("wait", "") if headers else ""
    if _SECONDS.fullmatch(value) is None or not 1 <= int(value) <= MAX_WAIT_S:
        return None
    return int(value)


def _preferences(headers: Sequence[str]) -> dict[str, str]:
    """Return the preferences by name, in lower case, with the value given first."""
    seen: dict[str, str] = {}
    for member in _LIST_MEMBER.findall(",".join(headers)):
        found = _PREFERENCE.fullmatch(member)
        if found is None:
            continue
        value = found["quoted"] if found["quoted"] is not None else found["value"]
        seen.setdefault(found["name"].lower(), (value or "").lower())
    return seen


def check_type_is_named(headers: Mapping[str, str]) -> None:
    """Return if a body that a page in a browser sends has a type.

    A page may send any text to any origin, as long as it gives it no type, or that of a form.

    Args:
        headers: of the request.

    Raises:
        UnsupportedMediaType: there is an `Origin` and no `Content-Type`.
    """
    if not headers.get("Content-Type") and "Origin" in headers:
        raise UnsupportedMediaType(
            "a request with an Origin must say what it sends: Content-Type: application/json"
        )


def parse_content_type(header: str | None, *, ndjson: bool = True) -> bool:
    """Parse `Content-Type`.

    Args:
        header: its value; if it is missing or empty, the body is JSON.
        ndjson: whether the body may be NDJSON.

    Returns:
        Whether the body is NDJSON rather than JSON.

    Raises:
        UnsupportedMediaType: another media type, or another charset than UTF-8.
    """
    if not header:
        return False
    message = Message()
    message["Content-Type"] = header
    media_type = header.split(";", 1)[0].strip().lower()
    taken = ("application/json", "application/x-ndjson") if ndjson else ("application/json",)
    if media_type not in taken:
        # The default of curl.
        hint = " (curl: -H 'Content-Type: ...')" if media_type == _FORM else ""
        raise UnsupportedMediaType(
            f"media type {media_type[:64]!r} is not taken; send {' or '.join(taken)}{hint}"
        )
    charset = message.get_param("charset", "utf-8")
    if str(charset).lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMediaType(f"charset {str(charset)[:64]!r} is not taken; send UTF-8")
    return media_type == "application/x-ndjson"


def parse_content_encoding(headers: Sequence[str]) -> bool:
    """Parse `Content-Encoding`.

    Args:
        headers: the values of all `Content-Encoding` headers.

    Returns:
        Whether the body is compressed with gzip.

    Raises:
        UnsupportedMediaType: another content encoding, or several.
    """
    codings = [c.strip().lower() for c in ",".join(headers).split(",") if c.strip()]
    if not codings or codings == ["identity"]:
        return False
    if codings in (["gzip"], ["x-gzip"]):
        return True
    raise UnsupportedMediaType(
        f"content encoding {', '.join(codings)[:64]!r} is not taken; send gzip, or none"
    )

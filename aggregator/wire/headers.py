"""The request headers that say what is sent and what is wanted back."""

import re
from collections.abc import Sequence
from email.message import Message
from typing import NamedTuple

from aggregator.wire.errors import UnsupportedMediaType

# In linear time, whatever is sent: no part of a text can be matched in two ways.
_LIST_MEMBER = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))++', re.DOTALL)
_PREFERENCE = re.compile(
    r"[ \t]*+(?P<name>[!#$%&\'*+.^_`|~0-9A-Za-z-]++)[ \t]*+"
    r'(?:=[ \t]*+(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"|(?P<value>[^",; \t]*+)))?+[ \t]*+(?:;.*)?',
    re.DOTALL,
)

_FORM = "application/x-www-form-urlencoded"


class Preferences(NamedTuple):
    """What `Prefer` (RFC 7240) asks of a publish."""

    minimal: bool
    lenient: bool

    @property
    def applied(self) -> str:
        """The value of `Preference-Applied`; empty if there is nothing to confirm."""
        told = (("return=minimal", self.minimal), ("handling=lenient", self.lenient))
        return ", ".join(text for text, applies in told if applies)


def parse_prefer(headers: Sequence[str]) -> Preferences:
    """The preferences in all `Prefer` headers; of one given twice, the first counts.

    A preference that is unknown or can't be read is ignored, as RFC 7240 wants it.
    """
    seen: dict[str, str] = {}
    for member in _LIST_MEMBER.findall(",".join(headers)):
        found = _PREFERENCE.fullmatch(member)
        if found is None:
            continue
        value = found["quoted"] if found["quoted"] is not None else found["value"]
        seen.setdefault(found["name"].lower(), (value or "").lower())
    return Preferences(seen.get("return") == "minimal", seen.get("handling") == "lenient")


def parse_content_type(header: str | None) -> bool:
    """Whether a body is NDJSON (else JSON); JSON if the header is missing or empty.

    Raises:
        UnsupportedMediaType: another media type, or another charset than UTF-8.
    """
    if not header:
        return False
    message = Message()
    message["Content-Type"] = header
    media_type = header.split(";", 1)[0].strip().lower()
    if media_type not in {"application/json", "application/x-ndjson"}:
        # What curl says of a body unless it is told otherwise.
        hint = " (curl: -H 'Content-Type: ...')" if media_type == _FORM else ""
        raise UnsupportedMediaType(
            f"media type {media_type[:64]!r} is not taken; "
            f"send application/json or application/x-ndjson{hint}"
        )
    charset = message.get_param("charset", "utf-8")
    if str(charset).lower() not in {"utf-8", "utf8"}:
        raise UnsupportedMediaType(f"charset {str(charset)[:64]!r} is not taken; send UTF-8")
    return media_type == "application/x-ndjson"


def parse_content_encoding(headers: Sequence[str]) -> bool:
    """Whether a body is compressed with gzip.

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

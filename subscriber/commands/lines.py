"""The lines of events: JSON for programs, text for people."""

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from subscriber.events import Event

Render = Callable[[Event], bytes]

_DIM, _CYAN, _YELLOW, _GREEN, _PLAIN = "\x1b[2m", "\x1b[36m", "\x1b[33m", "\x1b[32m", "\x1b[0m"
_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|\s+', re.DOTALL)
_encode_payload = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def json_line(event: Event) -> bytes:
    """Render an event as NDJSON, byte for byte as the aggregator sent it."""
    return event.json + b"\n"


def harmless_json_line(event: Event) -> bytes:
    """Render an event as NDJSON whose text can't drive a terminal; the JSON value is the same."""
    return harmless(event.json) + b"\n"


def harmless(text: bytes) -> bytes:
    """Return a JSON text that can't drive a terminal, with the same value."""
    compact = _STRING_OR_SPACE.sub(lambda found: found[1] or "", text.decode())
    return visible(compact).encode()


class TextLine(NamedTuple):
    """The lines for people: time, topic, offset, source and payload.

    Args:
        has_colors: use the colors of a terminal.
    """

    has_colors: bool

    def render(self, event: Event) -> bytes:
        """Render an event; characters that could drive a terminal are escaped."""
        time = event.timestamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        columns = [
            (_DIM, time),
            (_CYAN, event.topic),
            (_YELLOW, str(event.offset)),
            (_GREEN, event.source),
            ("", _encode_payload(event.payload)),
        ]
        texts = [
            f"{color}{visible(text)}{_PLAIN}" if self.has_colors and color else visible(text)
            for color, text in columns
        ]
        return " ".join(texts).encode() + b"\n"


def visible(text: str) -> str:
    """Return a text with everything that is not printed as a character escaped, as in JSON."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in text
    )

"""Dead letters as text for people."""

import re
from collections.abc import Mapping
from typing import Any

from subscriber.cli import counted
from subscriber.commands.lines import visible

_BEGIN, _END = 60, 140
"""Characters of an error: how it ended, and what was said last, are most worth reading."""


def dead_letter_line(letter: Mapping[str, Any]) -> bytes:
    """Render a dead letter; characters that could drive a terminal are escaped.

    Args:
        letter: its members, as the aggregator gives them.
    """
    place = f"{letter.get('topic')}/{letter.get('offset')}"
    error = shortened(str(letter.get("last_error") or "no error was told"))
    deliveries = letter.get("deliveries")
    if isinstance(deliveries, int):
        place = f"{place}, {counted(deliveries, 'delivery', 'deliveries')}"
    return visible(f"{letter.get('dead_at')} {place}: {error}").encode() + b"\n"


def shortened(text: str) -> str:
    """Return a text on one line, without its middle if it is long."""
    line = re.sub(r"\s+", " ", text).strip()
    if len(line) <= _BEGIN + _END:
        return line
    return f"{line[:_BEGIN].rstrip()} … {line[-_END:].lstrip()}"

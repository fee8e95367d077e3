"""The blocks of an event stream that are no events (WHATWG HTML, server-sent events)."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

RETRY = b"retry: 1000\n"
"""Ahead of the first block, not a block of its own, which some clients take for an event. With
less, a browser asks hundreds of times a second."""

HEARTBEAT = b":\n"
"""A comment without a blank line behind it: with one, some clients take it for an event."""

_encode = msgspec.json.Encoder().encode


class Gap(NamedTuple):
    """Events that a reader asks for and that are not there.

    Args:
        topic: theirs.
        first, last: their offsets.
        reason: `expired`: they were there once; `head_is_lower`: the log ends before them.
        head: the head offset of the topic.
    """

    topic: str
    first: int
    last: int
    reason: Literal["expired", "head_is_lower"]
    head: int


def gap_block(gap: Gap, position: str) -> bytes:
    """Encode that something is missing, and the position behind it."""
    names = ("topic", "from", "to", "reason", "head")
    return _block("gap", _encode(dict(zip(names, gap, strict=True))), position)


def caught_up_block(heads: Mapping[str, int], position: str) -> bytes:
    """Encode that a reader has had everything up to the heads, by topic."""
    return _block("caught-up", _encode(heads), position)


def position_block(position: str) -> bytes:
    """Encode a position to which the filter has moved a reader on."""
    return _block("position", position.encode(), position)


def unavailable_block(reason: str) -> bytes:
    """Encode why there is no stream now. It has no id, so that a reader keeps its own."""
    return b"event: unavailable\ndata: %b\n\n" % _encode({"reason": reason})


def _block(event: str, data: bytes, position: str) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (event.encode(), position.encode(), data)

"""Positions of streams: what a reader has had of each of its topics, as the text of an event's id.

Across topics there is no order in which events are committed, so a position holds an offset of each
topic. Of one topic it is that offset alone.
"""

import re
from collections.abc import Mapping

from aggregator.wire.event_rules import topic_rule_broken
from storage.model import INT64_MAX

MAX_POSITION_BYTES = 4096

_MARK = "@"
"""What a position of several topics begins with, also one that holds none of them."""

_OFFSET = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class PositionUnreadable(ValueError):
    """A text is not the position of a stream."""


def render_position(offsets: Mapping[str, int], one_topic: str | None) -> str:
    """Render a position.

    Args:
        offsets: of each topic; one that is 0 need not be told.
        one_topic: the topic, if the stream is of one.
    """
    if one_topic is not None:
        return str(offsets.get(one_topic, 0))
    return _MARK + ",".join(f"{topic}:{offset}" for topic, offset in offsets.items() if offset)


def position_head(offsets: Mapping[str, int], topic: str) -> str:
    """Render a position of several topics up to where the offset of one of them goes.

    The positions behind consecutive events of a topic differ in no more than their ends.

    Args:
        offsets: of each topic.
        topic: the one.
    """
    others = {name: offset for name, offset in offsets.items() if name != topic}
    head = render_position(others, None)
    return f"{head}{'' if head == _MARK else ','}{topic}:"


def parse_position(text: str, one_topic: str | None) -> dict[str, int]:
    """Parse a position.

    Args:
        text: the position.
        one_topic: the topic, if the stream is of one.

    Returns:
        The offsets by topic, without those that are 0.

    Raises:
        PositionUnreadable: it is none, or that of one topic where there are several.
    """
    if one_topic is not None and not text.startswith(_MARK):
        return {one_topic: _offset(text)}
    if len(text) > MAX_POSITION_BYTES or not text.startswith(_MARK):
        raise PositionUnreadable(text)
    offsets: dict[str, int] = {}
    for told in text[1:].split(",") if len(text) > 1 else ():
        topic, _, offset = told.rpartition(":")
        if topic in offsets or topic_rule_broken(topic):
            raise PositionUnreadable(text)
        offsets[topic] = _offset(offset)
    return offsets


def _offset(text: str) -> int:
    if _OFFSET.fullmatch(text) is None or int(text) > INT64_MAX:
        raise PositionUnreadable(text)
    return int(text)

"""Positions of streams: what is rendered is read back, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.wire.stream_position import (
    PositionUnreadable,
    parse_position,
    position_head,
    render_position,
)
from storage.model import INT64_MAX

_TOPICS = st.text("abAZ09._-", min_size=1, max_size=8)
_OFFSETS = st.one_of(st.integers(0, 12), st.integers(0, INT64_MAX))


@given(st.dictionaries(_TOPICS, _OFFSETS, max_size=6))
def test_a_position_of_several_topics_is_read_back_without_zeros(offsets: dict[str, int]) -> None:
    text = render_position(offsets, None)
    assert parse_position(text, None) == {name: at for name, at in offsets.items() if at}
    assert text.isascii()
    assert text


@given(st.dictionaries(_TOPICS, _OFFSETS, min_size=1, max_size=6), st.data())
def test_its_head_and_an_offset_are_a_position(
    offsets: dict[str, int], data: st.DataObject
) -> None:
    topic = data.draw(st.sampled_from(sorted(offsets)))
    text = f"{position_head(offsets, topic)}7"
    others = {name: at for name, at in offsets.items() if at and name != topic}
    assert parse_position(text, None) == {**others, topic: 7}


@given(_TOPICS, _OFFSETS)
def test_a_position_of_one_topic_is_its_offset(topic: str, offset: int) -> None:
    assert render_position({topic: offset}, topic) == str(offset)
    assert parse_position(str(offset), topic) == {topic: offset}


@given(st.text("@ab:,01 -+\u0663", max_size=12))
def test_any_other_text_is_none(text: str) -> None:
    for one_topic in (None, "a"):
        try:
            offsets = parse_position(text, one_topic)
        except PositionUnreadable:
            continue
        if one_topic is None or text.startswith("@"):
            told = [f"{topic}:{offset}" for topic, offset in offsets.items()]
            assert text == "@" + ",".join(told)
        else:
            assert offsets == {"a": int(text)}
            assert text == str(offsets["a"])


@pytest.mark.parametrize("text", ["", "@" + "a:1," * 2000, "1" * 5000, "@a:" + "1" * 5000])
def test_a_long_one_is_refused_before_it_is_read(text: str) -> None:
    for one_topic in (None, "a"):
        with pytest.raises(PositionUnreadable):
            parse_position(text, one_topic)

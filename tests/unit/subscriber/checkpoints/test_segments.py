"""Segments and bitmaps, held against a set of offsets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checkpoint_deliveries import batch_of

from subscriber.checkpoints import CheckpointDamaged
from subscriber.checkpoints.segments import NOTHING_DONE, Segment, mark, segments_of

offsets = (
    st.integers(0, 20) | st.integers(4090, 4102) | st.integers(0, 2**63 - 1) | st.integers(-5000, 0)
)
events = st.tuples(st.sampled_from("ab"), offsets)


@given(batches=st.lists(st.lists(events, min_size=1, max_size=30), max_size=6))
def test_bitmaps_tell_what_a_set_tells(batches: list[list[tuple[str, int]]]) -> None:
    rows: dict[Segment, bytes] = {}
    done: set[tuple[str, int]] = set()
    for each in batches:
        deliveries = batch_of(*each)
        segments = segments_of(deliveries)
        marked = mark(deliveries, segments, [rows.get(s, NOTHING_DONE) for s in segments])
        expected = [event for event in dict.fromkeys(each) if event not in done]
        assert [(d.topic, d.offset) for d in marked.fresh] == expected
        changed = {Segment(topic, offset // 4096) for topic, offset in expected}
        assert [change.segment for change in marked.changes] == sorted(changed)
        rows |= dict(marked.changes)
        done |= set(each)
        assert sum(int.from_bytes(bits).bit_count() for bits in rows.values()) == len(done)


def test_segments_are_sorted_whatever_the_order_of_the_batch() -> None:
    events = [("b", 1), ("a", 9000), ("b", 4095), ("a", 2), ("B", 1)]
    expected = [("B", 0), ("a", 0), ("a", 2), ("b", 0)]
    assert segments_of(batch_of(*events)) == expected
    assert segments_of(batch_of(*reversed(events))) == expected


@pytest.mark.parametrize("length", [0, 511, 513])
def test_bitmap_of_another_length_is_refused(length: int) -> None:
    deliveries = batch_of(("t", 1))
    with pytest.raises(CheckpointDamaged, match=f"{length} bytes instead of 512"):
        mark(deliveries, segments_of(deliveries), [bytes(length)])

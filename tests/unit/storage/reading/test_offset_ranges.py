"""A cursor over ranges moves by rows; it gives what the list of all rows gives."""

import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from storage.reading.offset_ranges import OffsetRange, RangeCursor, consecutive, count_rows

_ranges = st.lists(
    st.builds(
        lambda topic, first, rows: OffsetRange(topic, first, first + rows - 1, rows),
        st.sampled_from(["a", "b"]),
        st.integers(1, 9),
        st.integers(1, 5),
    ),
    max_size=5,
)


def _rows(ranges: list[OffsetRange], *, newest_first: bool) -> list[tuple[str, int]]:
    rows = []
    for each in ranges:
        offsets = list(range(each.first, each.last + 1))
        rows += [(each.topic, offset) for offset in (offsets[::-1] if newest_first else offsets)]
    return rows


@given(
    _ranges,
    st.booleans(),
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8))),
    st.integers(0, 3),
)
def test_a_cursor_gives_the_next_rows_and_moves_behind_those_read(
    ranges: list[OffsetRange], newest_first: bool, steps: list[tuple[int, int]], lot: int
) -> None:
    ready, later = (ranges[:lot], ranges[lot:]) if lot else (ranges, [])
    lots = [later[start : start + lot] for start in range(0, len(later), lot or 1)]

    async def load() -> list[OffsetRange]:
        return lots.pop(0) if lots else []

    async def holds() -> None:
        cursor = RangeCursor(ready, newest_first=newest_first, load=load if lot else None)
        left = _rows(ranges, newest_first=newest_first)
        for wanted, moved in steps:
            assert await cursor.fill(wanted) == min(wanted, len(left))
            found = list(cursor.peek(wanted))
            assert _rows(found, newest_first=newest_first) == left[:wanted]
            assert count_rows(found) == len(left[:wanted])
            rows = min(moved, wanted, len(left))
            cursor.advance(rows)
            left = left[rows:]
        assert await cursor.fill(1) == min(1, len(left))

    asyncio.run(holds())


@given(st.sets(st.integers(1, 30), min_size=1))
def test_consecutive_offsets_are_joined_into_ranges(offsets: set[int]) -> None:
    found = consecutive(OffsetRange("t", 1, 30, 7), sorted(offsets))
    assert [offset for _, offset in _rows(found, newest_first=False)] == sorted(offsets)
    assert all(each.ts_ingest_us == 7 for each in found)
    assert all(one.last + 1 < other.first for one, other in pairwise(found))

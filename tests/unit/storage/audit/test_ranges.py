"""Runs of rows and ranges of appends: whatever does not agree is named, however long it is."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.audit.ranges import Range, compare, runs
from storage.model import INT64_MAX


def differences(expected: list[Range], held: list[Range]) -> list[str]:
    told: list[str] = []
    compare(expected, held, told.append)
    return told


OTHER = "in an append of another ts_ingest"
RUNS = [Range(1, 3, 10), Range(4, 4, 20), Range(5, 9, 30)]


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (RUNS, []),
        ([Range(1, 2, 10), Range(3, 3, 10), *RUNS[1:]], []),
        ([], ["offsets 1 to 3 are in no append", "offset 4 is in no append",
              "offsets 5 to 9 are in no append"]),
        (RUNS[:1] + RUNS[2:], ["offset 4 is in no append"]),
        ([Range(2, 3, 10), *RUNS[1:]], ["offset 1 is in no append"]),
        ([*RUNS[:2], Range(5, 8, 30)], ["offset 9 is in no append"]),
        ([*RUNS[:2], Range(6, 9, 30)], ["offset 5 is in no append"]),
        ([*RUNS, Range(10, 10, 40)], ["offset 10 is in an append, but not there"]),
        ([*RUNS[:2], Range(5, INT64_MAX, 30)],
         [f"offsets 10 to {INT64_MAX} are in an append, but not there"]),
        ([Range(1, 3, 11), *RUNS[1:]],
         [f"offsets 1 to 3 are {OTHER}: 11, not 10 microseconds after 1970"]),
        ([Range(1, 4, 10), RUNS[2]],
         [f"offset 4 is {OTHER}: 10, not 20 microseconds after 1970"]),
        ([Range(1, 4, 10), *RUNS[1:]],
         [f"offset 4 is {OTHER}: 10, not 20 microseconds after 1970",
          "offset 4 is in more than one append"]),
        ([*RUNS, Range(8, 8, 30)], ["offset 8 is in more than one append"]),
        ([Range(0, 3, 10), *RUNS], ["an append has offsets 0 to 3"]),
        ([*RUNS[:2], Range(4, 3, 10), RUNS[2]], ["an append has offsets 4 to 3"]),
    ],
)  # fmt: skip
def test_what_does_not_agree_is_named(held: list[Range], told: list[str]) -> None:
    assert differences(RUNS, held) == told


def test_ranges_of_a_topic_without_rows_are_named() -> None:
    assert differences([], [Range(1, 7, 10)]) == ["offsets 1 to 7 are in an append, but not there"]


@pytest.mark.parametrize("is_dense", [True, False])
def test_a_run_ends_where_the_time_changes(is_dense: bool) -> None:
    found = list(runs([3, 4, 5, 6], [1, 1, 2, 2], is_dense=is_dense))
    assert found == [Range(3, 4, 1), Range(5, 6, 2)]


def test_a_run_ends_at_a_gap_and_counts_a_repeated_offset_once() -> None:
    found = list(runs([0, 1, 1, 2, 5, 6], [1] * 6, is_dense=False))
    assert found == [Range(1, 2, 1), Range(5, 6, 1)]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2)), max_size=6), st.data())
def test_ranges_agree_however_they_are_split_and_in_whatever_blocks_the_rows_come(
    appends: list[tuple[int, int]], data: st.DataObject
) -> None:
    times = list(accumulate(step for _, step in appends))
    row_times = [t for (size, _), t in zip(appends, times, strict=True) for _ in range(size)]
    offsets = list(range(1, len(row_times) + 1))

    def cut(rows: list[int]) -> list[list[int]]:
        ends = sorted(data.draw(st.sets(st.sampled_from(rows)))) if rows else []
        return [rows[a:b] for a, b in zip([0, *ends], [*ends, len(rows)], strict=True) if a < b]

    expected = [
        run
        for part in cut(offsets)
        for run in runs(part, [row_times[n - 1] for n in part], is_dense=True)
    ]
    held = [
        Range(run.first, run.last, run.time_us)
        for part in cut(offsets)
        for run in runs(part, [row_times[n - 1] for n in part], is_dense=False)
    ]
    assert differences(expected, held) == []
    if held:
        gone = data.draw(st.sampled_from(range(len(held))))
        assert differences(expected, held[:gone] + held[gone + 1 :])

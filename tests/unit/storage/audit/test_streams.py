"""What an audit compares by: sums that no two different sets share, and streams in order."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.audit.snapshot import LogDamaged, Row
from storage.audit.streams import MultisetHash, Stream


def sum_of(*parts: Sequence[str]) -> MultisetHash:
    total = MultisetHash()
    for part in parts:
        total.add(part, len(part))
    return total


def stream(*blocks: Sequence[Row], order: Sequence[int] = (0, 1)) -> Stream:
    return Stream(iter(blocks), "the index", order)


@given(entries=st.lists(st.text(max_size=3)), cut=st.integers(0, 9), seed=st.randoms())
def test_a_sum_depends_neither_on_order_nor_on_parts(
    entries: list[str], cut: int, seed: st.DataObject
) -> None:
    shuffled = list(entries)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sum_of(entries[:cut], entries[cut:]) == sum_of(shuffled)


@given(left=st.lists(st.integers(-5, 30)), right=st.lists(st.integers(-5, 30)))
def test_sums_of_different_entries_differ(left: list[int], right: list[int]) -> None:
    same = sorted(left) == sorted(right)
    assert (sum_of([str(n) for n in left]) == sum_of([str(n) for n in right])) == same


def test_sums_of_neighbouring_numbers_differ() -> None:
    """As hashes of tuples of numbers they often have the same sum."""
    assert all(
        sum_of([str(n), str(n + 3)]) != sum_of([str(n + 1), str(n + 2)]) for n in range(1000)
    )


def test_an_entry_counts_as_often_as_it_is_there() -> None:
    assert sum_of(["a", "a", "b"]) != sum_of(["a", "b", "b"])
    assert sum_of(["a", "a"]) != sum_of([])


def test_a_stream_gives_topic_by_topic_over_the_blocks() -> None:
    rows = stream([("a", 1), ("a", 2)], [("a", 3), ("b", 1), ("c", 1)], [("c", 2)])
    assert rows.topic == "a"
    assert list(rows.read_topic("a")) == [[("a", 1), ("a", 2)], [("a", 3)]]
    assert list(rows.read_topic("aa")) == []
    assert list(rows.read_topic("b")) == [[("b", 1)]]
    assert list(rows.read_topic("c")) == [[("c", 1)], [("c", 2)]]
    assert rows.topic is None


@pytest.mark.parametrize(
    "blocks",
    [
        [[("a", 2), ("a", 1)]],
        [[("a", 2)], [("a", 1)]],
        [[("b", 1), ("a", 2)]],
        [[("a", 1), ("b", 1)], [("a", 2)]],
    ],
)
def test_a_stream_out_of_order_is_damaged(blocks: list[list[Row]]) -> None:
    with pytest.raises(LogDamaged, match=r"the index is out of order at \('a', [12]\)"):
        read_all(stream(*blocks))


def test_equal_neighbours_are_in_order() -> None:
    read_all(stream([("a", 1), ("a", 1)], [("a", 1)]))


def read_all(rows: Stream) -> list[Sequence[Row]]:
    return list(rows.blocks())


def test_a_stream_reads_no_further_than_the_block_it_is_in() -> None:
    read: list[int] = []

    def blocks() -> Iterator[Sequence[Row]]:
        for n in range(100):
            read.append(n)
            yield [(f"t-{n:02}", 1)]

    rows = Stream(blocks(), "the index", (0, 1))
    list(rows.read_topic("t-00"))
    assert read == [0, 1]

"""An audit of any snapshot: what it tells on the way, and what it calls a stream out of order."""

from collections.abc import Iterator, Mapping
from itertools import product

import pytest

from storage.audit import recount
from storage.audit.recount import Audit
from storage.audit.snapshot import Blocks, Extent, LogDamaged, Row, SubscriptionTables
from storage.audit.streams import Stream
from storage.audit.subscriptions import SubscriptionFound


class Lists:
    """A snapshot that holds what it is given, each in one block."""

    def __init__(
        self, changes: Mapping[str, list[Row]] | None = None, *, damaged: bool = False
    ) -> None:
        self._damaged = damaged
        lists: dict[str, list[Row]] = {
            "counts": [("a", 2, 2, 0, 0, 8), ("b", 1, 1, 0, 0, 9)],
            "table": [("a", 1, "x", 7), ("a", 2, "y", 8), ("b", 1, "x", 9)],
            "keys": [("a", "x"), ("a", "y"), ("b", "x")],
            "places": [("a", 1), ("a", 2), ("b", 1)],
            "ranges": [("a", 1, 1, 7), ("a", 2, 2, 8), ("b", 1, 1, 9)],
            "range entries": [(7, "a", 1), (8, "a", 2), (9, "b", 1)],
            "doubled": [],
            "kept": [("b", "id", 0, 1, 1, 0, 0, 0, 1, "[]", 0, 0, 0)],
            "failures": [],
        }
        self._lists = lists | dict(changes or {})

    def open(self) -> None: ...

    def close(self) -> None: ...

    def extent(self) -> Extent:
        return Extent(2, 3, 1, 1)

    def faults(self) -> Iterator[str]:
        return iter(())

    def rows(self) -> Iterator[Row]:
        for topic, offset, event_id, time_us in self._lists["table"]:
            yield topic, offset, event_id, time_us, time_us, "shop", "{}"
        if self._damaged:
            raise LogDamaged("a page")

    def counts(self) -> Blocks:
        return iter([self._lists["counts"]])

    def table(self) -> Blocks:
        return iter([self._lists["table"]])

    def place_index(self) -> Blocks | None:
        return iter([self._lists["places"]])

    def key_index(self) -> Blocks:
        return iter([self._lists["keys"]])

    def ranges(self) -> Blocks:
        return iter([self._lists["ranges"]])

    def range_index(self) -> Blocks | None:
        return iter([self._lists["range entries"]])

    def doubled_keys(self, max_keys: int) -> list[Row]:
        return self._lists["doubled"][:max_keys]

    @property
    def subscription_tables(self) -> SubscriptionTables:
        return Tables(self._lists)


class Tables:
    """Its tables of subscriptions."""

    def __init__(self, lists: Mapping[str, list[Row]]) -> None:
        self._lists = lists

    def subscriptions(self) -> Blocks:
        return iter(
            [[("billing", "id", '{"topics":["*"]}'), ("idle", "other", '{"topics":["b"]}')]]
        )

    def topics(self) -> Blocks:
        return iter([self._lists["kept"]])

    def failures(self) -> Blocks:
        return iter([self._lists["failures"]])

    def settles(self) -> Blocks:
        return iter([])


def audited(snapshot: Lists) -> tuple[Audit, list[tuple[str, int]]]:
    told: list[tuple[str, int]] = []
    done = Audit(snapshot, lambda _row: None, lambda what, rows: told.append((what, rows)))
    assert not done.complete
    assert len(list(done.topics())) <= 2
    return done, told


def test_each_stage_tells_what_it_reads_and_how_much() -> None:
    done, told = audited(Lists())
    assert told == [
        ("structure", 0),
        ("values", 3),
        *[("order and keys", 3)] * 3,
        ("appends", 0),
    ]
    assert done.complete
    assert done.differences.sentences == []


def test_reading_many_values_is_told_of_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recount, "_ROWS_PER_REPORT", 2)
    _, told = audited(Lists())
    assert [each for each in told if each[0] == "values"] == [("values", 2), ("values", 1)]


def test_looking_for_doubled_keys_is_a_stage_of_its_own() -> None:
    hidden = Lists({"keys": [("a", "x"), ("a", "z"), ("b", "x")], "doubled": [("a", "y", 2)]})
    done, told = audited(hidden)
    assert told[-1] == ("doubled keys", 0)
    assert done.differences.sentences[-1] == "topic 'a': the event_id 'y' is stored 2 times"


def test_subscriptions_are_a_stage_behind_the_topics() -> None:
    done, told = audited(Lists())
    assert list(done.subscriptions()) == [
        SubscriptionFound("billing", 1, 1, 0, 0, 0, 0),
        SubscriptionFound("idle", 0, 0, 0, 0, 0, 0),
    ]
    assert told[-1] == ("subscriptions", 0)
    assert done.complete
    assert done.differences.sentences == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kept": [("b", "id"), ("a", "id")]},
         "the table subscription_topics is out of order at ('a', 'id')"),
        ({"failures": [("a", "id", 2, 0), ("a", "id", 1, 0)]},
         "the table subscription_failures is out of order at ('a', 'id', 1)"),
    ],
)  # fmt: skip
def test_subscriptions_out_of_order_end_the_audit(
    change: dict[str, list[Row]], sentence: str
) -> None:
    done, _ = audited(Lists(change))
    assert list(done.subscriptions()) == []
    assert not done.complete
    assert done.differences.sentences == [f"the rest could not be read: {sentence}"]


def test_damage_leaves_an_audit_incomplete() -> None:
    done, _ = audited(Lists(damaged=True))
    assert not done.complete
    assert list(done.subscriptions()) == []
    assert done.differences.sentences == ["the rest could not be read: a page"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"counts": [("b",), ("a",)]}, "the table of counts is out of order at ('a',)"),
        ({"table": [("b", 1, "x", 9), ("a", 1, "x", 7)]},
         "the table of events is out of order at ('a', 1)"),
        ({"keys": [("a", "y"), ("a", "x")]},
         "the index (topic, event_id) is out of order at ('a', 'x')"),
        ({"places": [("a", 2), ("a", 1)]}, "the index (topic, offset) is out of order at ('a', 1)"),
        ({"ranges": [("a", 2, 2, 8), ("a", 1, 1, 7)]},
         "the table of appends is out of order at ('a', 1)"),
        ({"range entries": [(8, "a", 2), (7, "a", 1)]},
         "the index (ts_ingest, topic, first_offset) is out of order at (7, 'a', 1)"),
    ],
)  # fmt: skip
def test_what_is_out_of_order_is_named(change: dict[str, list[Row]], sentence: str) -> None:
    done, _ = audited(Lists(change))
    assert done.differences.sentences[-1] == f"the rest could not be read: {sentence}"
    assert not done.complete


def test_of_equal_neighbours_the_one_out_of_order_is_named() -> None:
    with pytest.raises(LogDamaged, match=r"at \('a', 0\)$"):
        Stream(iter([[("a", 1), ("a", 1), ("a", 0)]]), "the index", (0, 1))


@pytest.mark.parametrize("sizes", list(product(range(1, 6), repeat=3)))
def test_a_block_is_cut_where_its_topics_end(sizes: tuple[int, int, int]) -> None:
    topics = dict(zip("abc", sizes, strict=True))
    block = [(topic, n) for topic, size in topics.items() for n in range(size)]
    stream = Stream(iter([block]), "the index", (0, 1))
    for topic, size in topics.items():
        assert [list(part) for part in stream.read_topic(topic)] == [
            [(topic, n) for n in range(size)]
        ]
    assert stream.topic is None

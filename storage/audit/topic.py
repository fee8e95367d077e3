"""The audit of one topic, from its rows."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import eq, le

from storage.audit.ranges import Range, compare, ranges_of, runs
from storage.audit.snapshot import KEY, PLACE, Row
from storage.audit.streams import MultisetHash, columns
from storage.model import Counts

MAX_DIFFERENCES = 100


class Differences:
    """Differences found: the first sentences, and how many there are in all."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.total = 0

    def add(self, sentence: str) -> None:
        """Add one."""
        self.total += 1
        if len(self.sentences) < MAX_DIFFERENCES:
            self.sentences.append(sentence)


class TopicAudit:
    """Audit of one topic: first its table is added, then the rest is compared with it.

    Args:
        topic: its name, as it is stored.
        differences: those of the whole log, to which its own are added.
    """

    def __init__(self, topic: str, differences: Differences) -> None:
        self.topic = topic
        self.head_offset = 0
        """The largest offset found."""
        self.counts: Counts | None = None
        """Its counts in the table of counts."""
        self.differences = 0
        """How many it has."""
        self.hidden_keys = False
        """Whether the table may hold keys more than once that the index does not show."""
        self._all_differences = differences
        self._places = MultisetHash()
        self._keys = MultisetHash()
        self._last_us: int | None = None

    @property
    def rows(self) -> int:
        """The number of rows found in the table."""
        return self._places.count

    def compare_ranges(
        self, blocks: Iterable[Sequence[Row]], ranges: Iterable[Sequence[Row]]
    ) -> None:
        """Add the topic's rows in the table, and compare them with its ranges on the way.

        Args:
            blocks: topic, offset, event_id and ts_ingest, by offset.
            ranges: topic, first and last offset and ts_ingest, by first offset.
        """
        compare(self._add_table(blocks), ranges_of(ranges), self._add)

    def compare_keys(self, blocks: Iterable[Sequence[Row]]) -> None:
        """Compare the table with the topic's entries in the order of the key."""
        held = MultisetHash()
        last: list[str] = []
        for block in blocks:
            event_ids = last + [row[1] for row in block]
            held.add(event_ids[len(last) :], len(block))
            if any(map(eq, event_ids, event_ids[1:])):
                for earlier, later in pairwise(event_ids):
                    if earlier == later:
                        self._add(f"the event_id {printable(later)} is stored more than once")
            last = event_ids[-1:]
        self._compare(KEY, held, self._keys)
        self.hidden_keys = held != self._keys

    def compare_places(self, blocks: Iterable[Sequence[Row]]) -> None:
        """Compare the table with the topic's entries in the index of its places."""
        held = MultisetHash()
        for block in blocks:
            held.add((str(row[1]) for row in block), len(block))
        self._compare(PLACE, held, self._places)

    def compare_counts(self, rows: Sequence[Row]) -> None:
        """Compare the table with the topic's rows in the table of counts: one, if all is well."""
        for _, *four, last_ts_ingest_us in rows:
            self.counts = Counts(*four)
            self._check_counts(self.counts)
            if self._last_us is not None and last_ts_ingest_us < self._last_us:
                self._add("last_ts_ingest is before the ts_ingest of the last row")
        if not rows:
            self._add(f"{self.rows} rows are there, but no counts")
        elif len(rows) > 1:
            self._add(f"its counts are there {len(rows)} times")

    def _add_table(self, blocks: Iterable[Sequence[Row]]) -> Iterator[Range]:
        """Add the topic's rows in the table; yield their runs."""
        for block in blocks:
            offsets, event_ids, times_us = map(list, columns(block, 1, 2, 3))
            self._places.add(map(str, offsets), len(block))
            self._keys.add(event_ids, len(block))
            is_dense = offsets == list(range(offsets[0], offsets[0] + len(offsets)))
            self._follow_offsets(offsets, is_dense=is_dense)
            self._follow_times(times_us, offsets)
            yield from runs(offsets, times_us, is_dense=is_dense)

    def _compare(self, index: Sequence[str], held: MultisetHash, expected: MultisetHash) -> None:
        if held != expected:
            self._add(
                f"{index_name(index)} does not hold what the table holds: "
                f"{held.count} entries, {expected.count} rows"
            )

    def _check_counts(self, counts: Counts) -> None:
        received, unique, duplicates, conflicts = (
            counts.received, counts.unique_processed, counts.duplicate_dropped, counts.conflicts,
        )  # fmt: skip
        if unique != self.rows:
            self._add(f"unique_processed is {unique}, but {self.rows} rows are there")
        if received != unique + duplicates:
            self._add(
                f"received is {received}, but unique_processed + duplicate_dropped "
                f"is {unique + duplicates}"
            )
        if not 0 <= conflicts <= duplicates:
            self._add(f"conflicts is {conflicts}, which is not within 0 and {duplicates}")
        if received and not unique:
            self._add(f"received is {received}, but unique_processed is 0")

    def _follow_offsets(self, offsets: list[int], *, is_dense: bool) -> None:
        if not is_dense or offsets[0] != self.head_offset + 1:
            for offset in offsets:
                if offset == self.head_offset and offset > 0:
                    self._add(f"offset {offset} is there more than once")
                elif offset > self.head_offset + 1:
                    self._add(_missing(self.head_offset + 1, offset - 1))
                self.head_offset = max(self.head_offset, offset)
        self.head_offset = max(self.head_offset, offsets[-1])

    def _follow_times(self, times_us: list[int], offsets: list[int]) -> None:
        followed = times_us if self._last_us is None else [self._last_us, *times_us]
        if not all(map(le, followed, followed[1:])):
            behind = offsets if len(followed) == len(offsets) + 1 else offsets[1:]
            for (earlier, later), offset in zip(pairwise(followed), behind, strict=True):
                if later < earlier:
                    self._add(f"ts_ingest goes back at offset {offset}")
        self._last_us = times_us[-1]

    def _add(self, sentence: str) -> None:
        self.differences += 1
        self._all_differences.add(f"topic {printable(self.topic)}: {sentence}")


def _missing(first: int, last: int) -> str:
    return (
        f"offset {first} is missing" if first == last else f"offsets {first} to {last} are missing"
    )


def index_name(columns: Sequence[str]) -> str:
    """Name an index by its columns, for a sentence."""
    return f"the index ({', '.join(columns)})"


def printable(text: str) -> str:
    """Quote a text from the database so that it is safe to print."""
    return ascii(text) if not text.isprintable() else repr(text)

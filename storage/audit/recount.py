"""The audit of a log: everything recounted from its rows, and compared.

Every row is read once to see whether the aggregator could have written it. Then the table,
its indexes and the counts are read side by side, topic by topic, so that nothing has to be
kept but where each of them is. An index is compared with the table by number and sum; see
`storage.audit.streams`. The table of appends is compared range by range. A key that is doubled
in the table but hidden by its index shows as a row that the index lacks: an index in which
neighbours always differ can't hold both.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

from storage.audit.snapshot import KEY, PLACE, RANGE, Blocks, LogDamaged, LogSnapshot, Row
from storage.audit.streams import MultisetHash, Stream, columns
from storage.audit.subscriptions import SubscriptionFound, SubscriptionsAudit
from storage.audit.topic import Differences, TopicAudit, index_name, printable
from storage.model import Counts

RowRule = Callable[[Row], str | None]
"""Checks a row as `LogSnapshot.rows` gives it; returns what is wrong with it, or None."""

OnRows = Callable[[str, int], None]
"""Progress callback: what is being read, and how many more rows of it have been."""

_MAX_DOUBLED_KEYS = 20
_MAX_FOREIGN_TOPICS = 10_000
_ROWS_PER_REPORT = 1000


class TopicFound(NamedTuple):
    """The audit's result for one topic.

    Args:
        topic: its name, as it is stored.
        counts: what the table of counts says; None if it does not know the topic.
        rows: the rows found in the table.
        head_offset: the largest offset found, 0 if there is none.
        differences: how many; None if it has none, but so many topics have foreign rows that not
            all could be remembered.
    """

    topic: str
    counts: Counts | None
    rows: int
    head_offset: int
    differences: int | None


class Audit:
    """Audit of one snapshot.

    Args:
        snapshot: an open one.
        row_rule: the rule that a row must keep to.
        on_rows: progress callback.
    """

    def __init__(self, snapshot: LogSnapshot, row_rule: RowRule, on_rows: OnRows) -> None:
        self.differences = Differences()
        self.complete = False
        """Whether everything was read; damage ends the audit early, and is a difference."""
        self._snapshot = snapshot
        self._row_rule = row_rule
        self._on_rows = on_rows
        self._foreign: dict[str, int] = {}
        self._foreign_forgotten = False
        self._hidden_keys = False
        self._ranges = MultisetHash()

    def topics(self) -> Iterator[TopicFound]:
        """Run the audit, yielding each topic as it is done, in byte order of the names.

        What is wrong with them is in `differences` when this ends.

        Yields:
            The result for one topic.

        Raises:
            StorageError: the database was lost meanwhile.
        """
        try:
            self._check_structure()
            self._check_rows()
            yield from self._recount()
            self._compare_range_index()
            self._name_doubled_keys()
        except LogDamaged as damage:
            self.differences.add(f"the rest could not be read: {damage}")
        else:
            self.complete = True

    def subscriptions(self) -> Iterator[SubscriptionFound]:
        """Run the audit of subscriptions, behind that of `topics`; nothing if that ended early.

        `differences` and `complete` are final only when this ends.

        Yields:
            The result for one subscription, in byte order of the names.

        Raises:
            StorageError: the database was lost meanwhile.
        """
        if not self.complete:
            return
        self._on_rows("subscriptions", 0)
        tables, counts = self._snapshot.subscription_tables, self._snapshot.counts()
        try:
            yield from SubscriptionsAudit(tables, counts, self.differences).subscriptions()
        except LogDamaged as damage:
            self.complete = False
            self.differences.add(f"the rest could not be read: {damage}")

    def _check_structure(self) -> None:
        self._on_rows("structure", 0)
        for fault in self._snapshot.faults():
            self.differences.add(fault)

    def _check_rows(self) -> None:
        read = 0
        for row in self._snapshot.rows():
            read += 1
            if read == _ROWS_PER_REPORT:
                self._on_rows("values", read)
                read = 0
            broken = self._row_rule(row)
            if broken is not None:
                topic, offset = row[0], row[1]
                self.differences.add(f"topic {printable(topic)}, offset {offset}: {broken}")
                if topic in self._foreign or len(self._foreign) < _MAX_FOREIGN_TOPICS:
                    self._foreign[topic] = self._foreign.get(topic, 0) + 1
                else:
                    self._foreign_forgotten = True
        self._on_rows("values", read)

    def _recount(self) -> Iterator[TopicFound]:
        snapshot = self._snapshot
        read = partial(self._on_rows, "order and keys")
        counts = Stream(snapshot.counts(), "the table of counts", (0,))
        table = Stream(snapshot.table(), "the table of events", (0, 1), read)
        keys = Stream(snapshot.key_index(), index_name(KEY), (0, 1), read)
        place_index = snapshot.place_index()
        places = Stream(place_index, index_name(PLACE), (0, 1), read) if place_index else None
        ranges = Stream(self._hashed_ranges(), "the table of appends", (0, 1))
        streams = [s for s in (counts, table, keys, places, ranges) if s is not None]
        while (topic := _least(streams)) is not None:
            one = TopicAudit(topic, self.differences)
            one.compare_ranges(table.read_topic(topic), ranges.read_topic(topic))
            one.compare_keys(keys.read_topic(topic))
            if places is not None:
                one.compare_places(places.read_topic(topic))
            one.compare_counts(list(chain.from_iterable(counts.read_topic(topic))))
            self._hidden_keys |= one.hidden_keys
            yield self._found(one)

    def _found(self, one: TopicAudit) -> TopicFound:
        differences: int | None = one.differences + self._foreign.get(one.topic, 0)
        if not differences and self._foreign_forgotten:
            differences = None
        return TopicFound(one.topic, one.counts, one.rows, one.head_offset, differences)

    def _hashed_ranges(self) -> Blocks:
        for block in self._snapshot.ranges():
            topics, firsts, times_us = columns(block, 0, 1, 3)
            self._ranges.add(map("{} {} {}".format, times_us, topics, firsts), len(block))
            yield block

    def _compare_range_index(self) -> None:
        index = self._snapshot.range_index()
        if index is None:
            return
        self._on_rows("appends", 0)
        held = MultisetHash()
        for block in Stream(index, index_name(RANGE), (0, 1, 2)).blocks():
            held.add(map("{} {} {}".format, *columns(block, 0, 1, 2)), len(block))
        if held != self._ranges:
            self.differences.add(
                f"{index_name(RANGE)} does not hold what the table holds: {held.count} entries, "
                f"{self._ranges.count} rows"
            )

    def _name_doubled_keys(self) -> None:
        if not self._hidden_keys:
            return
        self._on_rows("doubled keys", 0)
        for topic, event_id, times in self._snapshot.doubled_keys(_MAX_DOUBLED_KEYS):
            key = f"topic {printable(topic)}: the event_id {printable(event_id)}"
            self.differences.add(f"{key} is stored {times} times")


def _least(streams: Sequence[Stream]) -> str | None:
    return min((s.topic for s in streams if s.topic is not None), default=None)

"""The audit of subscriptions: the second law recounted, for each topic of each subscription.

What is kept is read by topic, beside the heads of the topics, so that nothing has to be held but a
few numbers for each subscription.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from typing import NamedTuple

import msgspec

from storage.audit.snapshot import Blocks, Row, SubscriptionTables
from storage.audit.streams import Stream
from storage.audit.subscription_topic import Failures, KeptTopic
from storage.audit.topic import Differences, printable
from storage.subscriptions.model import SubscriptionSettings
from storage.topic_patterns import TopicSelection

_read_settings = msgspec.json.Decoder(SubscriptionSettings).decode


class SubscriptionFound(NamedTuple):
    """The audit's result for one subscription; head - start is the sum of the four counts.

    Args:
        name: its name.
        topics: those of which it keeps something.
        acknowledged, dead: events that are settled.
        unsettled: events that were handed out or back: leased, or waiting to be redelivered.
        new: events that were never handed out.
        differences: how many.
    """

    name: str
    topics: int
    acknowledged: int
    dead: int
    unsettled: int
    new: int
    differences: int


@dataclass(slots=True)
class _Tally:
    name: str
    settings: SubscriptionSettings | None
    selection: TopicSelection | None
    topics: int = 0
    acknowledged: int = 0
    dead: int = 0
    unsettled: int = 0
    new: int = 0
    differences: int = 0

    def add(self, kept: KeptTopic, head: int) -> None:
        """Count the row of a topic."""
        self.topics += 1
        self.acknowledged += kept.acknowledged
        self.dead += kept.dead
        self.unsettled += kept.unsettled
        self.new += head - kept.next_offset

    @property
    def found(self) -> SubscriptionFound:
        """The result."""
        return SubscriptionFound(
            self.name, self.topics, self.acknowledged, self.dead, self.unsettled, self.new,
            self.differences,
        )  # fmt: skip


class SubscriptionsAudit:
    """Audit of the subscriptions of one snapshot.

    Args:
        tables: their tables.
        counts: the table of counts, see `LogSnapshot.counts`.
        differences: those of the whole log, to which its own are added.
    """

    def __init__(
        self, tables: SubscriptionTables, counts: Blocks, differences: Differences
    ) -> None:
        self._tables = tables
        self._counts = Stream(counts, "the table of counts", (0,))
        self._differences = differences
        self._by_id: dict[str, _Tally] = {}

    def subscriptions(self) -> Iterator[SubscriptionFound]:
        """Run the audit.

        Yields:
            The result for each subscription, by name in byte order.

        Raises:
            LogDamaged: a table can't be read.
            StorageError: the database was lost meanwhile.
        """
        tallies = self._read_subscriptions()
        self._compare_topics()
        for block in self._tables.settles():
            for subscription, number in block:
                if subscription not in self._by_id:
                    self._differences.add(f"{number} settles are kept of {_nobody(subscription)}")
        for tally in tallies:
            yield tally.found

    def _read_subscriptions(self) -> list[_Tally]:
        tallies: list[_Tally] = []
        for name, key, text in chain.from_iterable(self._tables.subscriptions()):
            tally = _Tally(name, None, None)
            if tallies and tallies[-1].name == name:
                self._add(tally, "its name is there more than once")
            if key in self._by_id:
                self._add(tally, f"its id {printable(key)} is there more than once")
            try:
                settings = _read_settings(text)
            except (msgspec.DecodeError, UnicodeEncodeError) as error:
                self._add(tally, f"its settings can't be read: {error}")
            else:
                tally.settings, tally.selection = settings, TopicSelection(settings.topics)
                if broken := settings.rule_broken():
                    self._add(tally, f"its settings break a rule: {broken}")
            self._by_id[key] = tally
            tallies.append(tally)
        return tallies

    def _compare_topics(self) -> None:
        topics = Stream(self._tables.topics(), "the table subscription_topics", (0, 1))
        failures = Stream(self._tables.failures(), "the table subscription_failures", (0, 1, 2))
        while (topic := _least(topics.topic, failures.topic)) is not None:
            rows = map(KeptTopic._make, chain.from_iterable(topics.read_topic(topic)))
            failed = groupby(chain.from_iterable(failures.read_topic(topic)), itemgetter(1))
            self._compare_topic(topic, self._head(topic), rows, failed)

    def _compare_topic(
        self,
        topic: str,
        head: int,
        rows: Iterator[KeptTopic],
        failed: Iterator[tuple[str, Iterator[Row]]],
    ) -> None:
        """Compare what is kept of a topic, and its failures, by subscription."""
        group = next(failed, None)
        last = None
        for kept in rows:
            while group is not None and group[0] < kept.subscription:
                self._name_unclaimed(topic, *group)
                group = next(failed, None)
            failures: Iterable[Row] = ()
            if group is not None and group[0] == kept.subscription:
                failures = group[1]
            self._compare_kept(kept, head, failures, is_doubled=kept.subscription == last)
            if failures:
                group = next(failed, None)
            last = kept.subscription
        while group is not None:
            self._name_unclaimed(topic, *group)
            group = next(failed, None)

    def _compare_kept(
        self, kept: KeptTopic, head: int, failures: Iterable[Row], *, is_doubled: bool
    ) -> None:
        where = f"topic {printable(kept.topic)}"
        tally = self._by_id.get(kept.subscription)
        if tally is None:
            self._differences.add(f"{where} is kept of {_nobody(kept.subscription)}")
            return

        def on_difference(sentence: str) -> None:
            self._add(tally, f"{where}: {sentence}")

        if is_doubled:
            on_difference("it is kept more than once")
            return
        if tally.selection is not None and not tally.selection.matches(kept.topic):
            on_difference("its settings do not select the topic")
        tally.add(kept, head)
        ranges = kept.compare(head, tally.settings, on_difference)
        if ranges is not None:
            Failures(kept, ranges, on_difference).compare(failures)

    def _name_unclaimed(self, topic: str, subscription: str, rows: Iterator[Row]) -> None:
        number = sum(1 for _ in rows)
        sentence = f"topic {printable(topic)}: {number} failures are kept, but nothing else"
        tally = self._by_id.get(subscription)
        if tally is None:
            self._differences.add(f"{sentence} of {_nobody(subscription)}")
        else:
            self._add(tally, sentence)

    def _head(self, topic: str) -> int:
        """Return the head of a topic by the table of counts; topics come in order."""
        while self._counts.topic is not None and self._counts.topic < topic:
            for _ in self._counts.read_topic(self._counts.topic):
                pass
        rows = chain.from_iterable(self._counts.read_topic(topic))
        return max((unique for _, _, unique, *_ in rows), default=0)

    def _add(self, tally: _Tally, sentence: str) -> None:
        tally.differences += 1
        self._differences.add(f"subscription {printable(tally.name)}: {sentence}")


def _least(*topics: str | None) -> str | None:
    return min((topic for topic in topics if topic is not None), default=None)


def _nobody(subscription: str) -> str:
    return f"the subscription with the id {printable(subscription)}, which is not there"

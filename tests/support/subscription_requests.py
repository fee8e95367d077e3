"""What a machine of subscriptions needs: a database, and what an aggregator knows of it."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from storage.subscriptions.commands import Command, Lease, Settle, Window
from storage.subscriptions.model import FailedEvent, Subscription, TopicView
from storage.subscriptions.outcomes import Leased, Outcome
from support.subscription_judge import SubscriptionModel

Looked: TypeAlias = tuple[Subscription, Sequence[TopicView], int]
"""A subscription, its topics that exist, and the time, of one snapshot."""


class SubscriptionDatabase(Protocol):
    """A database of subscriptions, and its clock."""

    def apply(self, commands: Sequence[Command]) -> tuple[list[Outcome] | None, tuple[int, int]]:
        """Do commands in one transaction.

        Returns:
            The outcomes, or None where nobody knows, and the microseconds between which it was.
        """
        ...

    def look(self, name: str) -> Looked | None:
        """Look at a subscription; None: there is none."""
        ...

    def dead_letters(self, subscription_id: str) -> list[FailedEvent]:
        """Dead letters of a subscription."""
        ...

    def publish(self, topic: str, sources: Sequence[str]) -> None:
        """Store events of these sources, and write them down in the model's log."""
        ...

    def let_pass(self, how: str, times_us: Sequence[int]) -> None:
        """Let time pass.

        Args:
            how: how much.
            times_us: when something changes by itself, ascending.
        """
        ...


class AggregatorView:
    """What an aggregator knows of subscriptions; it may be of some time ago."""

    def __init__(self, model: SubscriptionModel) -> None:
        self._model = model
        self._topics: dict[str, list[str]] = {}
        self._sources: dict[str, str | None] = {}
        self._passed: dict[tuple[str, str], int] = {}

    def refresh(self, name: str) -> None:
        """See what topics there are now."""
        record = self._model.records.get(name)
        self._topics[name] = [] if record is None else record.selected()
        self._sources[name] = None if record is None else record.settings.source

    def lease(
        self,
        name: str,
        lease: str,
        max_events: int,
        width: int = 20,
        *,
        few: bool = False,
        settle: Settle | None = None,
    ) -> Lease:
        """A lease as this aggregator asks for it.

        Args:
            name: of the subscription.
            lease: a fresh id.
            max_events: events at most.
            width: how many events of a topic it looks through for those that pass the filter.
            few: whether to try one topic only, as where there are more than can be tried.
            settle: what is settled ahead of it.
        """
        if not self._topics.get(name):
            self.refresh(name)
        topics = self._topics[name]
        self._topics[name] = topics[1:] + topics[:1]
        topics = topics[:1] if few else topics
        record = self._model.records.get(name)
        source = self._sources[name]
        windows = (
            {} if source is None else {t: self._window(name, t, source, width) for t in topics}
        )
        return Lease(
            name=name,
            lease=lease,
            max_events=max_events,
            topics=tuple(topics),
            all_topics=record is None or set(record.selected()) <= set(topics),
            settle=settle,
            windows={topic: window for topic, window in windows.items() if window is not None},
        )

    def _window(self, name: str, topic: str, source: str, width: int) -> Window | None:
        log = self._model.log
        if (passed := self._passed.get((name, topic))) is None:
            return None
        first, last = passed + 1, min(log.head(topic), passed + width)
        offsets = [o for o in range(first, last + 1) if log.source(topic, o) == source]
        return Window(source, first, last, [(o, o) for o in offsets])

    def learn(self, outcome: Leased) -> None:
        """Take over what a lease has told."""
        name = outcome.subscription.name
        self._sources[name] = outcome.subscription.settings.source
        for topic, passed in outcome.scan.items():
            self._passed[name, topic] = passed

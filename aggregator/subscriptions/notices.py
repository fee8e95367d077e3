"""Notices of what consumers may wait for: flushes, commands, and what others commit."""

import asyncio
from collections.abc import Iterable, Sequence

from aggregator.live.poller import Poller
from aggregator.subscriptions.counters import SubscriptionCounters
from aggregator.subscriptions.known import KnownSubscription, KnownSubscriptions
from storage.model import Status
from storage.protocols import EventStore
from storage.subscriptions.commands import Command, Create, Delete, Lease, Settle
from storage.subscriptions.outcomes import Kept, Leased, Outcome, Refusal, Settled

_MAX_READY = 1000
_MAX_PAUSE_S = 1.0

_CHECK_S, _MAX_CHECKED = 0.5, 10
"""How often it is looked whether a subscription is still there, and how many at a poll."""


class Notices:
    """Wakes consumers for what this process does, and counts that.

    Args:
        known: the subscriptions that are in use.
        counters: counts what is done.
    """

    def __init__(self, known: KnownSubscriptions, counters: SubscriptionCounters) -> None:
        self._known = known
        self._counters = counters

    def __len__(self) -> int:
        return self._counters.waits

    def stored(self, counted: Iterable[tuple[str, Status]]) -> None:
        """Take notice of a flush of events.

        Args:
            counted: the pairs of topic and status, each once.
        """
        topics = [topic for topic, status in counted if status is Status.STORED]
        for known in self._known.waited_for():
            selected = [topic for topic in topics if known.selection.matches(topic)]
            for topic in selected:
                known.stored(topic)
            if selected:
                known.sleepers.wake()

    def done(self, commands: Sequence[Command], outcomes: Sequence[Outcome]) -> None:
        """Take notice of a transaction of commands."""
        for command, outcome in zip(commands, outcomes, strict=True):
            if isinstance(command, Lease):
                self._leased(outcome)
                if command.settle is not None:
                    settled = outcome.settled if isinstance(outcome, Leased) else outcome
                    self._settled(command.settle, settled)
            elif isinstance(command, Settle):
                self._settled(command, outcome)
            elif not isinstance(outcome, Refusal):
                self._moved(command, outcome)

    def _leased(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Leased) or not outcome.granted:
            return
        counters = self._counters
        counters.leases += 1
        for each in outcome.granted:
            count = each.last - each.first + 1
            counters.events_leased += count
            if each.deliveries > 1:
                counters.redelivered += count

    def _settled(self, command: Settle, outcome: Outcome | None) -> None:
        counters = self._counters
        if isinstance(outcome, Refusal):
            counters.settles_refused[outcome.reason] += 1
            return
        if not isinstance(outcome, Settled):
            return
        counters.settles_done += 1
        counters.acknowledged += outcome.acknowledged
        counters.retried += outcome.retried
        counters.dead += outcome.dead
        counters.released += outcome.released
        known = self._known.get(command.name)
        if known is not None and known.sleepers:
            # Something was handed back, or its topic is free, or there is room for more leases.
            known.sleepers.wake()

    def _moved(self, command: Command, outcome: Outcome) -> None:
        name = command.subscription.name if isinstance(command, Create) else command.name
        if isinstance(command, Delete):
            self._known.forget(name)
            return
        known = self._known.get(name)
        if known is None:
            return
        if isinstance(outcome, Kept):
            known.update(outcome.subscription)
        known.sleepers.wake()


class SubscriptionPoller(Poller):
    """Notices what other aggregators on the same database do for consumers that wait here.

    Args:
        store: is looked at.
        known: the subscriptions that are in use.
        options: see `Poller`.
    """

    def __init__(self, store: EventStore, known: KnownSubscriptions, **options: float) -> None:
        super().__init__("subscription-poller", share=0.2, **options)
        self._store = store
        self.known = known
        known.on_waited_for = self.start

    def _wanted(self) -> bool:
        return bool(self.known.waited_for())

    async def _ask(self) -> None:
        waited_for = self.known.waited_for()
        now_s = asyncio.get_running_loop().time()
        due = [known for known in waited_for if known.poll_at_s <= now_s]
        # Very many topics are looked at all together, and less often.
        by_id = {known.subscription.id: known for known in due if known.sees_all}
        ready = await self._store.ready_topics(list(by_id), _MAX_READY)
        for id_, topic in ready:
            by_id[id_].stored(topic)
        for id_ in {id_ for id_, _ in ready}:
            self._wake(by_id[id_], now_s)
        for known in due:
            if known.needs_look(found_nothing=True):
                if await known.look(self._store):
                    self._wake(known, now_s)
                else:
                    self.known.forget(known.subscription.name)
        await self._check_that_some_are_there(waited_for, now_s)

    async def _check_that_some_are_there(
        self, waited_for: Sequence[KnownSubscription], now_s: float
    ) -> None:
        """Find out which were deleted by others, or made anew: a few at each poll."""
        longest_ago = sorted(waited_for, key=lambda known: known.checked_s)[:_MAX_CHECKED]
        for known in longest_ago:
            if now_s - known.checked_s < _CHECK_S:
                return
            known.checked_s = now_s
            subscription = known.subscription
            there = await self._store.subscription(subscription.name)
            if there is None or there.id != subscription.id:
                self.known.forget(subscription.name)

    def _wake(self, known: KnownSubscription, now_s: float) -> None:
        # It may have nothing all the same, for as many are leased as may be: then it is asked less
        # often, until somebody gets something.
        known.poll_at_s = now_s + known.poll_pause_s
        known.poll_pause_s = min(2 * known.poll_pause_s, _MAX_PAUSE_S)
        known.sleepers.wake()

"""Counts of what the subscriptions of one process have done since it began."""

from collections import Counter
from dataclasses import dataclass, field

SETTLE_REFUSALS = ("lease_lost", "invalid", "no_subscription")
"""The reasons of `storage.subscriptions.outcomes.Refusal` that a settle can meet."""


@dataclass(slots=True)
class SubscriptionCounters:
    """Counts that only grow, but for those of what waits now.

    Everything is counted on the event loop's thread, so these are plain numbers without locks.

    Attributes:
        leases: leases that were given, with at least one event.
        events_leased: deliveries in them.
        redelivered: those of these deliveries that were not the first of their event.
        unwritten: leases that were released because their answer could not be read or written.
        settles_done: settles that were done; one that was answered as before counts again.
        settles_refused: settles that were refused, by reason.
        acknowledged, retried, dead, released: events, as these settles have them.
        flushes: transactions of commands that were committed.
        flushes_failed: those that failed, whatever became of them.
        commands_waiting: commands that wait for their transaction, or are under way, now.
        waits: leases that are held now until there is something.
    """

    leases: int = 0
    events_leased: int = 0
    redelivered: int = 0
    unwritten: int = 0
    settles_done: int = 0
    settles_refused: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    retried: int = 0
    dead: int = 0
    released: int = 0
    flushes: int = 0
    flushes_failed: int = 0
    commands_waiting: int = 0
    waits: int = 0

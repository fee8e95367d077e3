"""The outcomes of the commands of subscriptions."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from storage.subscriptions.model import Subscription


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """A command that was refused.

    Args:
        reason: `no_subscription`, `settings_differ`, `lease_lost`, `invalid` or `no_dead_letter`.
        message: one sentence for whoever sent it.
    """

    reason: str
    message: str


class Kept(msgspec.Struct, frozen=True, tag="kept"):
    """The outcome of `Create`, `Change` and `Pause`: the subscription as it is now.

    Args:
        subscription: as it is.
        made: whether it was made.
    """

    subscription: Subscription
    made: bool = False


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The outcome of `Delete` and `DropDead`."""


class Granted(msgspec.Struct, frozen=True, tag="granted"):
    """A range of events in a lease.

    Args:
        topic: its topic.
        first, last: offsets.
        deliveries: how often they were handed out, this time included.
    """

    topic: str
    first: int
    last: int
    deliveries: int


class Settled(msgspec.Struct, frozen=True, kw_only=True, tag="settled"):
    """The outcome of `Settle`.

    Args:
        acknowledged, retried, dead, released: numbers of events.
        now_us: the time.
        expires_us: when the rest of the lease runs out; None: nothing of it is left.
        paused: whether its dead letters have paused the subscription.
    """

    acknowledged: int
    retried: int
    dead: int
    released: int
    now_us: int
    expires_us: int | None
    paused: bool = False


class Leased(msgspec.Struct, frozen=True, kw_only=True, tag="leased"):
    """The outcome of `Lease`.

    Args:
        subscription: as it is.
        granted: what is leased, in the order of delivery; empty: nothing.
        now_us: the time.
        expires_us: when the lease runs out.
        due_us: when more may be there, although nothing is stored or settled; None: never.
        more: topics that may have more to hand out now.
        scan: with a filter, topics whose windows did not reach what comes next, and the last offset
            that was passed.
        lag_events: events that are leased or waiting in the topics of the command.
        oldest_us: when the oldest of these was stored; None: there is none.
        settled: the outcome of the settle that was ahead of it; None: there was none.
    """

    subscription: Subscription
    granted: Sequence[Granted] = ()
    now_us: int
    expires_us: int = 0
    due_us: int | None = None
    more: Sequence[str] = ()
    scan: Mapping[str, int] = {}
    lag_events: int = 0
    oldest_us: int | None = None
    settled: Settled | None = None


class Sought(msgspec.Struct, frozen=True, tag="sought"):
    """The outcome of `Seek`.

    Args:
        again: events that will come although they were not to come any more.
        skipped: events that were to come and will not.
    """

    again: int
    skipped: int


class Retried(msgspec.Struct, frozen=True, tag="retried"):
    """The outcome of `RetryDead`.

    Args:
        retried: dead letters that wait again.
        left: those asked for that are still dead.
    """

    retried: int
    left: int


Outcome: TypeAlias = Refusal | Kept | Done | Leased | Settled | Sought | Retried

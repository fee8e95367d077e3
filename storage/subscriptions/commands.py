"""The commands of subscriptions.

A backend does many commands in one transaction; each is done as a whole, or refused and changes
nothing. A refusal is an outcome (`storage.subscriptions.outcomes`), and does not touch the others.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from storage.subscriptions.model import OnDead, Subscription


class Create(msgspec.Struct, frozen=True, tag="create"):
    """Make a subscription.

    Args:
        subscription: its name, a fresh id, its settings.
        starts: where it begins in topics that exist, by topic; those not named begin at 0.
    """

    subscription: Subscription
    starts: Mapping[str, int]


class Change(msgspec.Struct, frozen=True, kw_only=True, tag="change"):
    """Change settings of a subscription; those that are `UNSET` stay.

    Args:
        name: of the subscription.
        heads: the heads of all existing topics that the new `topics` select; needed with `topics`.
            A topic that is new to the subscription begins there.
    """

    name: str
    topics: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    source: str | msgspec.UnsetType | None = msgspec.UNSET
    lease_ms: int | msgspec.UnsetType = msgspec.UNSET
    max_deliveries: int | msgspec.UnsetType = msgspec.UNSET
    backoff_ms: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    on_dead: OnDead | msgspec.UnsetType = msgspec.UNSET
    stop_after_dead: int | msgspec.UnsetType | None = msgspec.UNSET
    max_leased: int | msgspec.UnsetType = msgspec.UNSET
    heads: Mapping[str, int] = {}


class Delete(msgspec.Struct, frozen=True, tag="delete"):
    """Delete a subscription and all that is kept of it."""

    name: str


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """Pause a subscription, or resume it.

    Args:
        name: of the subscription.
        reason: why; None: resume it. One that is paused keeps its reason.
    """

    name: str
    reason: str | None


class Window(msgspec.Struct, frozen=True, tag="window"):
    """Which events of a stretch of a topic pass a filter; that never changes.

    Args:
        source: the filter.
        first, last: the offsets of the stretch.
        matches: the ranges of offsets that pass, ascending.
    """

    source: str
    first: int
    last: int
    matches: Sequence[tuple[int, int]]


class Token(msgspec.Struct, frozen=True, array_like=True):
    """What a consumer shows to settle a lease.

    Args:
        subscription: the id of the subscription.
        lease: the id of the lease.
        consumer: the label.
        extents: topic, first and last offset that were handed out.
    """

    subscription: str
    lease: str
    consumer: str
    extents: tuple[tuple[str, int, int], ...]


class Retry(msgspec.Struct, frozen=True):
    """An event that is handed back since it failed.

    Args:
        topic, offset: the event.
        after_ms: how long to wait, in milliseconds; None: as `backoff_ms` has it.
        error: why; at most 4,000 characters.
    """

    topic: str
    offset: int
    after_ms: int | None = None
    error: str | None = None


class Death(msgspec.Struct, frozen=True):
    """An event that is declared dead.

    Args:
        topic, offset: the event.
        error: why; at most 4,000 characters.
    """

    topic: str
    offset: int
    error: str | None = None


Range: TypeAlias = tuple[str, int, int]
"""A topic, and the first and the last of a range of offsets."""


class Settle(msgspec.Struct, frozen=True, kw_only=True, tag="settle"):
    """Settle events of a lease, hand them back, let it last longer.

    Args:
        name: of the subscription.
        token: of the lease.
        ack, retry, dead, release: what becomes of which events.
        extend_ms: let it run out so long from now; None: do not.
        digest: of these four, if they are not all empty and the answer is to be kept; else b"".
        release_rest: whether to release all that the lease still has as well.
        trims: whether the events that are released were never given to the consumer: what is left
            is the lease as if it had been given so.
    """

    name: str
    token: Token
    ack: Sequence[Range] = ()
    retry: Sequence[Retry] = ()
    dead: Sequence[Death] = ()
    release: Sequence[Range] = ()
    extend_ms: int | None = None
    digest: bytes = b""
    release_rest: bool = False
    trims: bool = False


class Lease(msgspec.Struct, frozen=True, kw_only=True, tag="lease"):
    """Hand out events.

    Args:
        name: of the subscription.
        lease: a fresh id.
        max_events: events at most.
        topics: the topics to take from, in the order in which to try them; at most 100.
        all_topics: whether these are all that the subscription has now. If not, what the others
            have leased is counted as well.
        windows: what passes the filter, by topic; needed only with one.
        settle: what is settled ahead of it; if that is refused, so is the lease.
    """

    name: str
    lease: str
    max_events: int
    topics: Sequence[str]
    all_topics: bool = True
    windows: Mapping[str, Window] = {}
    settle: Settle | None = None


class Seek(msgspec.Struct, frozen=True, tag="seek"):
    """Move a subscription in some of its topics.

    Args:
        name: of the subscription.
        starts: the new starts by topic.
        dry_run: only say what it would do.
    """

    name: str
    starts: Mapping[str, int]
    dry_run: bool


class RetryDead(msgspec.Struct, frozen=True, tag="retry_dead"):
    """Make dead letters waiting again.

    Args:
        name: of the subscription.
        offsets: which; None: all.
        limit: how many at most.
    """

    name: str
    offsets: Sequence[Range] | None
    limit: int = 10_000


class DropDead(msgspec.Struct, frozen=True, tag="drop_dead"):
    """Make a dead letter acknowledged."""

    name: str
    topic: str
    offset: int


Command: TypeAlias = Create | Change | Delete | Pause | Lease | Settle | Seek | RetryDead | DropDead

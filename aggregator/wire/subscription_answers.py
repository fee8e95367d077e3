"""The encoders of answers about subscriptions, and what they are made of."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from aggregator.wire.lease_token import render_token
from aggregator.wire.subscription_settings import settings_members
from aggregator.wire.timestamps import render_timestamp
from storage.subscriptions.commands import Token
from storage.subscriptions.model import FailedEvent, Subscription
from storage.subscriptions.outcomes import Retried, Settled, Sought

_DECIMALS = 3
_SMALL_BYTES = 64 * 1024
"""An answer up to this is put together: to copy it costs less than to send it in parts."""

_encode = msgspec.json.encode


def _nothing() -> None:
    """Do nothing."""


class TopicCounts(msgspec.Struct, frozen=True):
    """The counts of one topic of a subscription, or of all of them.

    `head - start == acknowledged + dead + leased + waiting`.

    Args:
        head: the head offset.
        start: the offset behind which the subscription begins.
        acknowledged, dead, leased, waiting: numbers of events.
        expired: 0.
        redelivered: deliveries after the first, without those that were released.
        lag_events: leased + waiting.
        lag_seconds: since the oldest of these was stored; 0: there is none.
    """

    head: int
    start: int
    acknowledged: int
    dead: int
    leased: int
    waiting: int
    expired: int
    redelivered: int
    lag_events: int
    lag_seconds: float


class SubscriptionStatus(msgspec.Struct, frozen=True):
    """A subscription with its counts, in one snapshot.

    Args:
        subscription: without the state of its topics.
        totals: the counts of all topics.
        topics: the counts of a page of topics by name, in byte order.
        topics_total: number of its topics.
        more: whether there are topics behind this page.
    """

    subscription: Subscription
    totals: TopicCounts
    topics: Mapping[str, TopicCounts]
    topics_total: int
    more: bool


class LeaseAnswer(msgspec.Struct, frozen=True):
    """A lease that was given, or that there was nothing to give.

    Args:
        token: of the lease; None: there was nothing.
        now_us: the time.
        expires_us: when the lease runs out.
        deliveries: JSON objects of deliveries, separated by commas, in parts; between two parts
            there is a comma to be.
        lag_events: events that are leased or waiting in the whole subscription.
        lag_seconds: since the oldest of these was stored; 0: there is none.
        settled: what was settled ahead of it; None: nothing was to be.
        done: to be called, at least once, when the answer was sent or will not be: its memory is
            free then.
    """

    token: Token | None
    now_us: int
    expires_us: int
    deliveries: Sequence[bytes]
    lag_events: int
    lag_seconds: float
    settled: Settled | None = None
    done: Callable[[], object] = _nothing


def subscription_members(subscription: Subscription) -> dict[str, object]:
    """Return a subscription without counts, as answers have it."""
    return {
        "name": subscription.name,
        "settings": settings_members(subscription.settings),
        "state": "active" if subscription.reason is None else "paused",
        "reason": subscription.reason,
    }


def listed_answer(subscriptions: Iterable[Subscription]) -> bytes:
    """Encode subscriptions without counts, as an array."""
    return _encode([subscription_members(each) for each in subscriptions])


def status_answer(status: SubscriptionStatus) -> bytes:
    """Encode a subscription with its counts."""
    return _encode(
        subscription_members(status.subscription)
        | {
            "topics": {topic: _counts(counts) for topic, counts in status.topics.items()},
            "topics_total": status.topics_total,
        }
        | _counts(status.totals)
    )


def _counts(counts: TopicCounts) -> dict[str, object]:
    return {
        "head": counts.head,
        "start": counts.start,
        "acknowledged": counts.acknowledged,
        "dead": counts.dead,
        "leased": counts.leased,
        "waiting": counts.waiting,
        "expired": counts.expired,
        "redelivered": counts.redelivered,
        "lag": _lag(counts.lag_events, counts.lag_seconds),
    }


def _lag(events: int, seconds: float) -> dict[str, object]:
    return {"events": events, "seconds": round(seconds, _DECIMALS)}


def lease_answer(answer: LeaseAnswer) -> list[bytes]:
    """Encode a lease, in parts; those of its deliveries are not copied if they are large.

    Raises:
        ValueError: it can't be encoded.
    """
    begin = {
        "lease": None if answer.token is None else render_token(answer.token),
        **_expiry(answer.now_us, None if answer.token is None else answer.expires_us),
    }
    last = {"lag": _lag(answer.lag_events, answer.lag_seconds)}
    if answer.settled is not None:
        last["settled"] = _settled(answer.settled)
    parts = [b","] * (2 * len(answer.deliveries) + 1)
    parts[1::2] = answer.deliveries
    parts[0] = _encode(begin)[:-1] + b',"deliveries":['
    end = b"]," + _encode(last)[1:]
    if answer.deliveries:
        parts[-1] = end
    else:
        parts[0] += end
    if sum(map(len, parts)) <= _SMALL_BYTES:
        return [b"".join(parts)]
    return parts


def _expiry(now_us: int, expires_us: int | None) -> dict[str, object]:
    if expires_us is None:
        return {"expires_at": None, "expires_in_ms": None}
    return {
        "expires_at": render_timestamp(expires_us),
        "expires_in_ms": max(expires_us - now_us, 0) // 1000,
    }


def settled_answer(settled: Settled) -> bytes:
    """Encode the answer to a settle."""
    return _encode(_settled(settled))


def _settled(settled: Settled) -> dict[str, object]:
    return {
        "acknowledged": settled.acknowledged,
        "retried": settled.retried,
        "dead": settled.dead,
        "released": settled.released,
        **_expiry(settled.now_us, settled.expires_us),
    }


def sought_answer(sought: Sought) -> bytes:
    """Encode the answer to a seek."""
    return _encode({"again": sought.again, "skipped": sought.skipped})


def retried_answer(retried: Retried) -> bytes:
    """Encode the answer to a retry of dead letters."""
    return _encode({"retried": retried.retried, "left": retried.left})


def dead_letters_answer(letters: Sequence[tuple[FailedEvent, bytes]]) -> list[bytes]:
    """Encode dead letters as an array, in parts.

    Args:
        letters: each with its event as a JSON object, which is not copied.
    """
    parts: list[bytes] = []
    for failed, event in letters:
        members = {
            "topic": failed.topic,
            "offset": failed.offset,
            "deliveries": failed.deliveries,
            "first_error": failed.first_error,
            "last_error": failed.last_error,
            "first_failed_at": render_timestamp(failed.first_failed_us),
            "dead_at": None if failed.dead_us is None else render_timestamp(failed.dead_us),
        }
        begin = b"," if parts else b"["
        parts += [begin + _encode(members)[:-1] + b',"event":', event, b"}"]
    if not parts:
        return [b"[]"]
    parts[-1] += b"]"
    if sum(map(len, parts)) <= _SMALL_BYTES:
        return [b"".join(parts)]
    return parts

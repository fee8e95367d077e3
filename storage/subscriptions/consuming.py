"""Decisions on what consumers ask for: leases and settles."""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from storage.subscriptions.commands import Lease, Settle
from storage.subscriptions.deliveries import run_out
from storage.subscriptions.holding import hold_longer, shrink
from storage.subscriptions.leasing import Draft, Grants
from storage.subscriptions.model import (
    Order,
    SettleRecord,
    Subscription,
    SubscriptionSettings,
    TopicState,
)
from storage.subscriptions.outcomes import Leased, Refusal, Settled
from storage.subscriptions.settling import settle_topics
from storage.subscriptions.sweep import SettleRefused, TopicSettled
from storage.subscriptions.working_copy import WorkingCopy, selection

_RAN_OUT = "the lease of its last delivery ran out"


def lease(copy: WorkingCopy, subscription: Subscription, command: Lease) -> Leased | Refusal:
    """Decide what a consumer gets, behind what it settles."""
    if command.settle is None:
        return _lease(copy, subscription, command)
    settled = settle(copy, subscription, command.settle)
    if isinstance(settled, Refusal):
        return settled
    # Its dead letters may have paused the subscription.
    leased = _lease(copy, copy.subscriptions[subscription.name], command)
    return replace(leased, settled=settled)


def _lease(copy: WorkingCopy, subscription: Subscription, command: Lease) -> Leased:
    settings, now_us = subscription.settings, copy.now_us
    # Whoever sent the command may not have heard of other settings yet.
    matches = selection(settings.topics).matches
    topics = [topic for topic in command.topics if copy.loaded.heads.get(topic) and matches(topic)]
    if subscription.reason is None:
        subscription = _run_out(copy, subscription, topics)
    drafts = [
        Draft(topic, copy.state(subscription, topic), copy.loaded.heads[topic]) for topic in topics
    ]
    leased, unsettled = _held_elsewhere(copy, subscription, command)
    grants = Grants(
        command,
        settings,
        now_us=now_us,
        leased=leased + sum(draft.state.leased(now_us) for draft in drafts),
        unsettled=unsettled + sum(draft.state.unsettled for draft in drafts),
    )
    if subscription.reason is None:
        grants.take(drafts)
    expires_us = now_us + settings.lease_ms * 1000
    for draft in drafts:
        state = draft.leased(command.lease, expires_us, grants.size)
        if state is not draft.state:
            copy.put(subscription, draft.topic, state)
    return _leased(copy, subscription, drafts, grants, expires_us)


def _held_elsewhere(
    copy: WorkingCopy, subscription: Subscription, command: Lease
) -> tuple[int, int]:
    """Count what is leased, and what is unsettled, in topics that a lease is not tried on."""
    if command.all_topics:
        return 0, 0
    leased, unsettled = copy.loaded.others.get(subscription.id, (0, 0))
    # Those that other commands of the transaction have loaded.
    tried = set(command.topics)
    states = [state for topic, state in copy.states_of(subscription).items() if topic not in tried]
    return (
        leased + sum(state.leased(copy.now_us) for state in states),
        unsettled + sum(state.unsettled for state in states),
    )


def _leased(
    copy: WorkingCopy,
    subscription: Subscription,
    drafts: Sequence[Draft],
    grants: Grants,
    expires_us: int,
) -> Leased:
    active = subscription.reason is None
    lag_events, oldest_us, due_us = 0, None, None
    for draft in drafts:
        state = copy.state(subscription, draft.topic)
        lag = draft.head - state.next_offset + state.unsettled
        lag_events += lag
        stored_us = copy.loaded.oldest_us.get((subscription.id, draft.topic))
        if lag and stored_us is not None:
            oldest_us = stored_us if oldest_us is None else min(oldest_us, stored_us)
        for until_us in _times(state, subscription.settings):
            if until_us > copy.now_us and (due_us is None or until_us < due_us):
                due_us = until_us
    return Leased(
        subscription=subscription,
        granted=grants.granted,
        now_us=copy.now_us,
        expires_us=expires_us,
        due_us=due_us if active else None,
        more=[draft.topic for draft in drafts if grants.has_more(draft)] if active else (),
        scan=grants.scan,
        lag_events=lag_events,
        oldest_us=oldest_us,
    )


def _run_out(copy: WorkingCopy, subscription: Subscription, topics: Sequence[str]) -> Subscription:
    """Hand back what leases that have run out held; return the subscription as it is then."""
    died = 0
    for topic in topics:
        before = copy.state(subscription, topic)
        state, dead = run_out(before, subscription.settings, copy.now_us)
        if state is before:
            continue
        copy.put(subscription, topic, state)
        for each in dead:
            copy.fail(subscription, topic, each.first, each.deliveries, _RAN_OUT, dead=True)
        died += len(dead)
    return copy.count_dead(subscription, died, acknowledged=False)


def settle(copy: WorkingCopy, subscription: Subscription, command: Settle) -> Settled | Refusal:
    """Decide what becomes of the events that a consumer holds."""
    token, now_us = command.token, copy.now_us
    if token.subscription != subscription.id:
        return Refusal(
            "lease_lost", "the lease is one of another subscription, or of one that was deleted"
        )
    topics = [topic for topic, _, _ in token.extents]
    states = {topic: copy.state(subscription, topic) for topic in topics}
    expires_us = _expires_us(states.values(), token.lease)
    record = copy.records.get((token.lease, command.digest)) if command.digest else None
    is_open = expires_us is not None and expires_us > now_us
    if record is not None and (is_open or token.lease in copy.ended):
        if is_open:
            expires_us = _extend(copy, subscription, command)
        return Settled(
            acknowledged=record.acknowledged,
            retried=record.retried,
            dead=record.dead,
            released=record.released,
            now_us=now_us,
            expires_us=expires_us if is_open else None,
        )
    if not is_open:
        return Refusal("lease_lost", "the lease has run out, or nothing of it is left")
    try:
        settled = settle_topics(command, states, subscription.settings, now_us)
    except SettleRefused as refused:
        return Refusal(refused.reason, str(refused))
    for topic, of_topic in settled.items():
        _put_settled(copy, subscription, topic, of_topic)
    if command.trims:
        _shrink(copy, subscription, command)
    expires_us = _extend(copy, subscription, command)
    acknowledged = sum(each.acknowledged for each in settled.values())
    dead = sum(each.dead for each in settled.values())
    subscription = copy.count_dead(subscription, dead, acknowledged=acknowledged > 0)
    outcome = Settled(
        acknowledged=acknowledged,
        retried=sum(each.retried for each in settled.values()),
        dead=dead,
        released=sum(each.released for each in settled.values()),
        now_us=now_us,
        expires_us=expires_us,
        paused=subscription.reason is not None,
    )
    _record(copy, subscription, command, outcome)
    return outcome


def _put_settled(
    copy: WorkingCopy, subscription: Subscription, topic: str, settled: TopicSettled
) -> None:
    copy.put(subscription, topic, settled.state)
    for first, last in settled.forgotten:
        copy.forget(subscription, topic, first, last)
    for each in settled.failed:
        copy.fail(subscription, topic, each.offset, each.deliveries, each.error, dead=each.dead)


def _extend(copy: WorkingCopy, subscription: Subscription, command: Settle) -> int | None:
    """Let what is left of a lease last longer, if asked; return when it runs out."""
    lease = command.token.lease
    topics = [topic for topic, _, _ in command.token.extents]
    if command.extend_ms is not None:
        until_us = copy.now_us + command.extend_ms * 1000
        for topic in topics:
            before = copy.state(subscription, topic)
            state = hold_longer(before, lease, until_us)
            if state is not before:
                copy.put(subscription, topic, state)
    return _expires_us([copy.state(subscription, topic) for topic in topics], lease)


def _shrink(copy: WorkingCopy, subscription: Subscription, command: Settle) -> None:
    lease = command.token.lease
    topics = [topic for topic, _, _ in command.token.extents]
    states = {topic: copy.state(subscription, topic) for topic in topics}
    size = sum(
        each.count for state in states.values() for each in state.ranges if each.lease == lease
    )
    for topic, state in states.items():
        if any(each.lease == lease for each in state.ranges):
            copy.put(subscription, topic, shrink(state, lease, size))


def _record(
    copy: WorkingCopy, subscription: Subscription, command: Settle, outcome: Settled
) -> None:
    if not command.digest:
        return
    token = command.token
    record = SettleRecord(
        lease=token.lease,
        digest=command.digest,
        consumer=token.consumer,
        at_us=copy.now_us,
        ended=outcome.expires_us is None,
        acknowledged=outcome.acknowledged,
        retried=outcome.retried,
        dead=outcome.dead,
        released=outcome.released,
    )
    copy.records[token.lease, command.digest] = record
    if record.ended:
        copy.ended.add(token.lease)
    copy.changes.records.append((subscription.id, record))


def _expires_us(states: Iterable[TopicState], lease: str) -> int | None:
    """Return when a lease runs out; None if nothing of it is left."""
    ends = [each.until_us for state in states for each in state.ranges if each.lease == lease]
    return min(ends, default=None)


def _times(state: TopicState, settings: SubscriptionSettings) -> Iterable[int]:
    """Yield the times at which there may be something to hand out."""
    if settings.order is Order.NONE:
        yield from (each.until_us for each in state.ranges)
        return
    if (due_us := state.due_us(settings)) is not None:
        yield due_us
    # It makes room for other topics, whatever becomes of this one.
    yield from (each.until_us for each in state.ranges if each.lease)

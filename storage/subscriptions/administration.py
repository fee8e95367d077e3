"""Decisions on what operators ask for: making, changing and moving subscriptions, dead letters."""

from msgspec.structs import replace

from storage.subscriptions.commands import Change, Create, DropDead, Pause, Seek
from storage.subscriptions.model import Subscription, SubscriptionSettings, TopicState
from storage.subscriptions.moving import (
    changed_settings,
    changed_topics,
    differing,
    dropped,
    revived,
    sought,
)
from storage.subscriptions.outcomes import Done, Kept, Outcome, Refusal, Retried, Sought
from storage.subscriptions.working_copy import ALL, WorkingCopy, selection


def create(copy: WorkingCopy, command: Create) -> Outcome:
    """Decide on a new subscription."""
    wanted = command.subscription
    if (rule := wanted.settings.rule_broken()) is not None:
        return Refusal("invalid", rule)
    there = copy.subscriptions.get(wanted.name)
    if there is not None:
        return compared(there, wanted.settings) or Kept(there)
    copy.keep(wanted)
    for topic, start in command.starts.items():
        if start:
            copy.put(wanted, topic, TopicState(start, start))
    return Kept(wanted, made=True)


def compared(there: Subscription, wanted: SubscriptionSettings) -> Refusal | None:
    """Compare a subscription with settings; None if they are its own."""
    differences = differing(there.settings, wanted)
    if not differences:
        return None
    return Refusal(
        "settings_differ",
        f"the subscription {there.name!r} is there with other settings: {', '.join(differences)}",
    )


def change(copy: WorkingCopy, subscription: Subscription, command: Change) -> Outcome:
    """Decide on other settings."""
    settings = changed_settings(subscription.settings, command)
    if (rule := settings.rule_broken()) is not None:
        return Refusal("invalid", rule)
    kept = copy.states_of(subscription)
    for topic, state in changed_topics(subscription, command, kept).items():
        if state is None:
            copy.forget(subscription, topic, 0, ALL)
        copy.put(subscription, topic, state)
    changed = replace(subscription, settings=settings)
    if settings != subscription.settings:
        copy.keep(changed)
    if settings.on_dead is not subscription.settings.on_dead:
        # What a backend keeps beside a state depends on it.
        for topic, state in copy.states_of(subscription).items():
            copy.put(subscription, topic, state)
    return Kept(changed)


def delete(copy: WorkingCopy, subscription: Subscription) -> Done:
    """Decide on the end of a subscription."""
    del copy.subscriptions[subscription.name]
    copy.changes.deleted.append(subscription.id)
    return Done()


def pause(copy: WorkingCopy, subscription: Subscription, command: Pause) -> Kept:
    """Decide on a pause, or its end."""
    if command.reason is None:
        changed = replace(subscription, reason=None, dead_in_row=0)
    else:
        changed = replace(subscription, reason=subscription.reason or command.reason)
    if changed != subscription:
        copy.keep(changed)
    return Kept(changed)


def seek(copy: WorkingCopy, subscription: Subscription, command: Seek) -> Outcome:
    """Decide on other starts."""
    again = skipped = 0
    matches = selection(subscription.settings.topics).matches
    for topic, start in command.starts.items():
        if not matches(topic):
            return Refusal("invalid", f"{topic!r} is not one of the subscription's topics")
        head = copy.loaded.heads.get(topic, 0)
        if start > head:
            return Refusal(
                "invalid", f"offset {start} of the topic {topic!r} is above its head, {head}"
            )
    for topic, start in command.starts.items():
        state = copy.state(subscription, topic)
        moved = sought(state, copy.loaded.heads.get(topic, 0), start)
        again += moved.again
        skipped += moved.skipped
        if not command.dry_run:
            copy.put(subscription, topic, TopicState(start, start))
            copy.forget(subscription, topic, 0, ALL)
    return Sought(again, skipped)


def retry_dead(copy: WorkingCopy, subscription: Subscription) -> Retried:
    """Decide on dead letters that are to wait again."""
    offsets: dict[str, list[int]] = {}
    for topic, offset in copy.loaded.dead:
        offsets.setdefault(topic, []).append(offset)
        copy.forget(subscription, topic, offset, offset)
    for topic, of_topic in offsets.items():
        state = copy.state(subscription, topic)
        copy.put(subscription, topic, revived(state, of_topic, copy.now_us))
    retried = len(copy.loaded.dead)
    return Retried(retried, copy.loaded.dead_total - retried)


def drop_dead(copy: WorkingCopy, subscription: Subscription, command: DropDead) -> Outcome:
    """Decide on a dead letter that is to be acknowledged."""
    topic, offset = command.topic, command.offset
    if not copy.loaded.dead:
        return Refusal(
            "no_dead_letter", f"offset {offset} of the topic {topic!r} is no dead letter"
        )
    copy.put(subscription, topic, dropped(copy.state(subscription, topic)))
    copy.forget(subscription, topic, offset, offset)
    return Done()

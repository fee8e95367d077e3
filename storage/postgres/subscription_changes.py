"""Changes of subscriptions as arguments of the function that writes them.

A topic's row is updated in place, but for every `CHANGES_PER_ROW`th change, which deletes it and
writes a new one: the number of a row is that of its revision, divided by that.
"""

from collections.abc import Sequence
from typing import TypeAlias

from storage.postgres.array_arguments import join_integers, join_texts
from storage.postgres.session import MARKER
from storage.postgres.subscription_loading import Read
from storage.postgres.subscription_rows import (
    CHANGES_PER_ROW,
    document,
    json_text,
    state_columns,
    subscription_columns,
)
from storage.subscriptions.model import SubscriptionSettings
from storage.subscriptions.workspace import Changes, Needs

_Key: TypeAlias = tuple[str, str]
"""The id of a subscription, and a topic."""

# Arrays come as text, because the driver spends long on each of them. Nothing is stored in a
# session that is not the connection's own: what makes a commit durable is set in that one alone.
CHANGE = f"""
SELECT CASE WHEN current_setting('{MARKER}', true) IS DISTINCT FROM $1 THEN NULL
ELSE change_subscriptions_v7(
    string_to_array($2, chr(31)), string_to_array($3, chr(31)), string_to_array($4, chr(31)),
    $5::text::bigint[], string_to_array($6, chr(31)), string_to_array($7, chr(31)),
    $8::text::bigint[], $9::text::bigint[], string_to_array($10, chr(31)),
    string_to_array($11, chr(31)), $12, $13, $14, string_to_array($15, chr(31)),
    string_to_array($16, chr(31)), string_to_array($17, chr(31)), $18::text::bigint[],
    $19, $20, $21, $22, $23) END"""


def change_arguments(wanted: Needs, read: Read, changes: Changes) -> Sequence[object]:
    """Make the arguments of `CHANGE` behind the session's marker.

    Args:
        wanted: what was to be read.
        read: what was read, and which revisions.
        changes: what is to be written.
    """
    known = sorted(read.loaded.subscriptions.items())
    rows = [(key, revision) for key, revision in read.topics.items() if revision is not None]
    missing = [key for key, revision in read.topics.items() if revision is None]
    gone, updated, inserted = _state_rows(read, changes)
    return (
        join_texts(wanted.names),
        join_texts([name for name, _ in known]),
        join_texts([subscription.id for _, subscription in known]),
        join_integers(read.subscriptions[name] for name, _ in known),
        *_key_columns([key for key, _ in rows]),
        join_integers(_row_version(revision) for _, revision in rows),
        join_integers(revision for _, revision in rows),
        *_key_columns(missing),
        read.loaded.now_us,
        _made(read, changes),
        _changed(read, changes),
        join_texts(changes.deleted) if changes.deleted else "",
        *_key_columns([key for key, _ in gone]),
        join_integers(row_version for _, row_version in gone),
        document(updated),
        document(inserted),
        document(
            [
                {"id": id_, "topic": topic, "first": first, "last": last}
                for id_, topic, first, last in changes.forgotten
            ]
        ),
        document(_failure_rows(changes)),
        document(_settle_rows(changes)),
    )


def _key_columns(keys: Sequence[_Key]) -> tuple[str, str]:
    if not keys:
        return "", ""
    return join_texts([id_ for id_, _ in keys]), join_texts([topic for _, topic in keys])


def _row_version(revision: int) -> int:
    return revision // CHANGES_PER_ROW


def _made(read: Read, changes: Changes) -> str | None:
    for name, subscription in changes.subscriptions.items():
        if name not in read.subscriptions:
            # Above that of a former one of the name, where the clock is not set back.
            columns = subscription_columns(subscription) | {"revision": read.loaded.now_us}
            return json_text(columns)
    return None


def _changed(read: Read, changes: Changes) -> str | None:
    """Write the subscriptions that get another revision.

    Those that lose rows of topics get one, too: a row that comes back has a revision which somebody
    may have seen before.
    """
    losing = {id_ for (id_, _), state in changes.states.items() if state is None}
    after = read.loaded.subscriptions | changes.subscriptions
    return document(
        [
            subscription_columns(subscription)
            for name, subscription in after.items()
            if name in read.subscriptions
            and (name in changes.subscriptions or subscription.id in losing)
        ]
    )


def _state_rows(
    read: Read, changes: Changes
) -> tuple[list[tuple[_Key, int]], list[dict[str, object]], list[dict[str, object]]]:
    """Return which rows of topics go, which are updated and which are new."""
    settings = _settings_by_id(read, changes)
    gone: list[tuple[_Key, int]] = []
    updated: list[dict[str, object]] = []
    inserted: list[dict[str, object]] = []
    for key, state in changes.states.items():
        before = read.topics.get(key)
        # The first is above those of former rows of the topic, where the clock is not set back.
        revision = read.loaded.now_us if before is None else before + 1
        in_place = before is not None and _row_version(before) == _row_version(revision)
        if before is not None and not (state is not None and in_place):
            gone.append((key, _row_version(before)))
        if state is None:
            continue
        row = {
            "id": key[0],
            "topic": key[1],
            "row_version": _row_version(revision),
            "revision": revision,
        }
        (updated if in_place else inserted).append(row | state_columns(state, settings[key[0]]))
    return gone, updated, inserted


def _settings_by_id(read: Read, changes: Changes) -> dict[str, SubscriptionSettings]:
    after = read.loaded.subscriptions | changes.subscriptions
    return {each.id: each.settings for each in after.values()}


def _failure_rows(changes: Changes) -> list[dict[str, object]]:
    return [
        {
            "id": id_,
            "topic": topic,
            "place": offset,
            "deliveries": failure.deliveries,
            "first_error": _json_or_none(failure.first_error),
            "last_error": _json_or_none(failure.last_error),
            "dead": failure.dead,
        }
        for (id_, topic, offset), failure in changes.failures.items()
    ]


def _json_or_none(error: str | None) -> str | None:
    return None if error is None else json_text(error)


def _settle_rows(changes: Changes) -> list[dict[str, object]]:
    return [
        {
            "id": id_,
            "lease": record.lease,
            "digest": record.digest.hex(),
            "consumer": record.consumer,
            "ended": record.ended,
            "acknowledged": record.acknowledged,
            "retried": record.retried,
            "dead": record.dead,
            "released": record.released,
        }
        for id_, record in changes.records
    ]

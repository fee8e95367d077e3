"""Changes of subscriptions as arguments of the function that writes them.

A topic's row is updated in place, but for every `CHANGES_PER_ROW`th change, which deletes it and
writes a new one: the number of a row is that of its revision, divided by that.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter

import msgspec

from storage.postgres.session import MARKER
from storage.postgres.subscription_loading import Read
from storage.postgres.subscription_rows import (
    CHANGES_PER_ROW,
    document,
    state_columns,
    subscription_columns,
)
from storage.subscriptions.model import SubscriptionSettings
from storage.subscriptions.workspace import Changes, Needs

# Nothing is stored in a session that is not the connection's own: what makes a commit durable is
# set in that one alone.
CHANGE = f"""
SELECT CASE WHEN current_setting('{MARKER}', true) IS DISTINCT FROM $1 THEN NULL
ELSE change_subscriptions_v7(
    $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
    $23) END"""

_encode = msgspec.json.Encoder().encode


def change_arguments(wanted: Needs, read: Read, changes: Changes) -> Sequence[object]:
    """Make the arguments of `CHANGE` behind the session's marker.

    Args:
        wanted: what was to be read.
        read: what was read, and which revisions.
        changes: what is to be written.
    """
    known = sorted(read.loaded.subscriptions.items())
    rows = [(*key, row) for key, row in read.topics.items() if row is not None]
    missing = [key for key, row in read.topics.items() if row is None]
    gone, updated, inserted = _state_rows(read, changes)
    return (
        wanted.names,
        [name for name, _ in known],
        [subscription.id for _, subscription in known],
        [read.subscriptions[name] for name, _ in known],
        *_columns([(id_, topic, _row_version(row), row) for id_, topic, row in rows], 4),
        *_columns(missing, 2),
        read.loaded.now_us,
        _made(read, changes),
        _changed(read, changes),
        changes.deleted,
        *_columns(gone, 3),
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


def _columns(rows: Iterable[Sequence[object]], width: int) -> list[list[object]]:
    listed = list(rows)
    return [list(map(itemgetter(place), listed)) for place in range(width)]


def _row_version(revision: int) -> int:
    return revision // CHANGES_PER_ROW


def _made(read: Read, changes: Changes) -> str | None:
    for name, subscription in changes.subscriptions.items():
        if name not in read.subscriptions:
            # Above that of a former one of the name, where the clock is not set back.
            columns = subscription_columns(subscription) | {"revision": read.loaded.now_us}
            return _encode(columns).decode()
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
) -> tuple[list[tuple[str, str, int]], list[dict[str, object]], list[dict[str, object]]]:
    """Return which rows of topics go, which are updated and which are new."""
    settings = _settings_by_id(read, changes)
    gone: list[tuple[str, str, int]] = []
    updated: list[dict[str, object]] = []
    inserted: list[dict[str, object]] = []
    for key, state in changes.states.items():
        before = read.topics.get(key)
        # The first is above those of former rows of the topic, where the clock is not set back.
        revision = read.loaded.now_us if before is None else before + 1
        in_place = before is not None and _row_version(before) == _row_version(revision)
        if before is not None and not (state is not None and in_place):
            gone.append((*key, _row_version(before)))
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
            "first_error": failure.first_error,
            "last_error": failure.last_error,
            "dead": failure.dead,
        }
        for (id_, topic, offset), failure in changes.failures.items()
    ]


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

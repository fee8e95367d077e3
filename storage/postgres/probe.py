"""The probe for the keys of a batch, and the decision on what it finds.

Both ways to append begin with it: `storage.postgres.optimistic_append` before the topics are
locked, `storage.postgres.locked_append` after.
"""

import asyncio
from collections.abc import Iterable, Mapping

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from storage.deduplication import BatchDeduplicator, Decision, Head, Key
from storage.postgres.array_arguments import join_texts

# LATERAL with LIMIT keeps the planner to one index look-up a key, also when its statistics
# are those of an empty table. With event_id = ANY(...) it may read a whole topic instead.
PROBE = """
SELECT k.topic, k.event_id, e."offset", e.source, e.payload
FROM (SELECT unnest(string_to_array($1, chr(31))) AS topic,
             unnest(string_to_array($2, chr(31))) AS event_id) AS k
CROSS JOIN LATERAL (
    SELECT "offset", source,
           CASE WHEN octet_length(payload::text) <= $3 THEN payload END AS payload
    FROM events WHERE topic = k.topic AND event_id = k.event_id LIMIT 1) AS e"""

_PAYLOAD = 'SELECT payload FROM events WHERE topic = $1 AND "offset" = $2'

_INLINE_PAYLOAD_BYTES = 4096
"""Larger stored payloads are fetched one at a time; see `storage.sqlite.transaction`."""

_MAX_CHARACTERS_IN_LOOP = 65_536
"""More JSON than this is compared in a thread, so that the event loop goes on."""


def probe_arguments(deduplicator: BatchDeduplicator) -> tuple[str, str, int]:
    """Make the arguments of `PROBE` for the keys of a batch.

    Returns:
        The topics and the event ids of the keys, joined, and the size in bytes up to which a
        payload comes with its row.

    Raises:
        BatchRefused: a name can't be passed on.
    """
    topics, event_ids = zip(*deduplicator.keys, strict=True)
    return join_texts(topics), join_texts(event_ids), _INLINE_PAYLOAD_BYTES


async def add_probed(
    connection: PoolConnectionProxy,
    deduplicator: BatchDeduplicator,
    rows: Iterable[asyncpg.Record],
) -> None:
    """Add the rows of `PROBE` to the deduplicator, fetching the payloads that are not in them.

    Args:
        connection: the one that the probe ran on.
        deduplicator: of the batch that was probed for.
        rows: topic, event_id, offset, source and payload of each key that is stored; the payload
            is None where it is large.
    """
    for topic, event_id, offset, source, small_payload in rows:
        payload: str = small_payload
        if small_payload is None:
            payload = await connection.fetchval(_PAYLOAD, topic, offset)
        await add_stored(deduplicator, (topic, event_id), offset, source, payload)


async def add_stored(
    deduplicator: BatchDeduplicator, key: Key, offset: int, source: str, payload: str
) -> None:
    """Add one stored event to the deduplicator; much JSON is compared off the event loop."""
    if deduplicator.characters_to_compare(key, payload) > _MAX_CHARACTERS_IN_LOOP:
        await asyncio.to_thread(deduplicator.add_stored, key, offset, source, payload)
    else:
        deduplicator.add_stored(key, offset, source, payload)


async def decide(deduplicator: BatchDeduplicator, heads: Mapping[str, Head]) -> Decision:
    """Decide a batch, see `BatchDeduplicator.decide`; much JSON is compared off the event loop."""
    if deduplicator.characters_to_decide() > _MAX_CHARACTERS_IN_LOOP:
        return await asyncio.to_thread(deduplicator.decide, heads)
    return deduplicator.decide(heads)

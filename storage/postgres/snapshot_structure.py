"""The structure of a Postgres log as its snapshot finds it: unique indexes, and triggers."""

from typing import NamedTuple

import asyncpg

from storage.audit.snapshot import KEY, PLACE, RANGE
from storage.postgres.subscription_snapshot import KEYS as SUBSCRIPTION_KEYS

INDEXED = (("events", PLACE), ("events", KEY), ("appends", RANGE), *SUBSCRIPTION_KEYS)
"""Tables, and columns of which no two rows may have the same; each columns are of one table."""

TRIGGERS = """
SELECT tgname::text FROM pg_trigger
WHERE tgrelid = 'topics'::regclass AND tgenabled IN ('O', 'A')"""
"""The names of the triggers of the table of counts that are on."""

_INDEXES = """
SELECT c.relname, i.indisunique, t.relname,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
             WHERE k.place <= i.indnkeyatts ORDER BY k.place)
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
WHERE i.indrelid = ANY ($1::text[]::regclass[])
  AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indisvalid AND i.indisready AND i.indislive
ORDER BY i.indexrelid"""


class Index(NamedTuple):
    """An index.

    Args:
        name: its name.
        forbids_doubles: whether it is unique.
    """

    name: str
    forbids_doubles: bool


async def find_indexes(connection: asyncpg.Connection) -> dict[tuple[str, ...], Index]:
    """Find the indexes of `INDEXED` that are there and in use, by their columns."""
    indexes: dict[tuple[str, ...], Index] = {}
    tables = sorted({table for table, _ in INDEXED})
    for name, unique, table, columns in await connection.fetch(_INDEXES, tables):
        if (table, tuple(columns)) in INDEXED:
            indexes.setdefault(tuple(columns), Index(name, unique))
    return indexes

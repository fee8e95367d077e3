"""Names that a log needs, and what of another program has one of them already."""

from storage.errors import StorageMisconfigured
from storage.postgres.session import AnyConnection

NO_LOG = -1
"""In place of the version of a log that is not there yet."""

_RELATIONS = (
    (0, "aggregator_schema"),
    (1, "topics"),
    (1, "events"),
    (1, "events_by_ts_ingest"),
    (4, "writers"),
    (5, "appends"),
    (5, "appends_backfill"),
    (5, "appends_backfill_heads"),
    (7, "subscriptions"),
    (7, "subscription_topics"),
    (7, "subscription_failures"),
    (7, "subscription_dead_letters"),
    (7, "subscription_settles"),
    (7, "subscription_settles_by_time"),
    (7, "subscription_leases_by_consumer"),
)
_FUNCTIONS = (
    (2, "append_if_as_known"),
    (4, "append_if_unchanged_v4"),
    (5, "append_if_unchanged_v5"),
    (5, "record_append_v5"),
    (7, "change_subscriptions_v7"),
)
"""The names that a log needs, and from which version on."""

# Whatever has one of these names, and would be in its way.
_IN_THE_WAY = """
SELECT what, name FROM (
    SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view'
                          WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
                          WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type' ELSE 'index' END,
           c.relname::text, n.nspname
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relname = ANY ($2::text[])
    UNION ALL
    SELECT 'type', t.typname::text, n.nspname
    FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
    WHERE t.typrelid = 0 AND t.typname = ANY ($2::text[])
    UNION ALL
    SELECT 'function', p.proname::text, n.nspname
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE p.proname = ANY ($3::text[])) AS found (what, name, schema)
WHERE schema = $1 ORDER BY name, what LIMIT 1"""


async def check_names(connection: AnyConnection, schema: str, version: int) -> None:
    """Check that nothing of another program has a name that a log of `version` lacks yet.

    Args:
        connection: in a transaction.
        schema: where the log is, or is to be made.
        version: the schema version of the log; `NO_LOG` if there is none.

    Raises:
        StorageMisconfigured: something has.
    """
    relations, functions = (
        [name for needed_from, name in names if needed_from > version]
        for names in (_RELATIONS, _FUNCTIONS)
    )
    for what, name in await connection.fetch(_IN_THE_WAY, schema, relations, functions):
        raise StorageMisconfigured(
            f"the schema {schema!r} of the Postgres database has a {what} {name!r} that is not of "
            "this program: use another database, or a schema of its own with --schema"
        )

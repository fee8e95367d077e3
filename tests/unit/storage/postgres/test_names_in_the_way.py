"""Names that a log needs in its schema, and that another program has taken."""

import pytest
from support.backends import Database
from support.schemas import connected, execute, logs, refusal, stored

from storage.migrations import migrations


@pytest.fixture
def backend() -> str:
    return "postgres"


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("CREATE TABLE events (mine text)", "table 'events'"),
        ("CREATE TABLE topics (mine text)", "table 'topics'"),
        ("CREATE TABLE aggregator_schema (mine text)", "table 'aggregator_schema'"),
        ("CREATE VIEW events AS SELECT 1", "view 'events'"),
        ("CREATE MATERIALIZED VIEW topics AS SELECT 1", "materialized view 'topics'"),
        ("CREATE SEQUENCE events", "sequence 'events'"),
        ("CREATE TYPE topics AS ENUM ('a')", "type 'topics'"),
        ("CREATE TYPE events AS (a text)", "type 'events'"),
        ("CREATE DOMAIN events AS text", "type 'events'"),
        ("CREATE TABLE x (y text); CREATE INDEX events_by_ts_ingest ON x (y)",
         "index 'events_by_ts_ingest'"),
        ("CREATE FUNCTION append_if_as_known() RETURNS int LANGUAGE sql AS 'SELECT 1'",
         "function 'append_if_as_known'"),
        ("CREATE FUNCTION append_if_unchanged_v4() RETURNS int LANGUAGE sql AS 'SELECT 1'",
         "function 'append_if_unchanged_v4'"),
        ("CREATE TABLE writers (mine text)", "table 'writers'"),
        ("CREATE TABLE appends (mine text)", "table 'appends'"),
        ("CREATE VIEW appends_backfill AS SELECT 1", "view 'appends_backfill'"),
        ("CREATE TYPE appends_backfill_heads AS ENUM ('a')", "type 'appends_backfill_heads'"),
        ("CREATE FUNCTION append_if_unchanged_v5() RETURNS int LANGUAGE sql AS 'SELECT 1'",
         "function 'append_if_unchanged_v5'"),
        ("CREATE FUNCTION record_append_v5() RETURNS int LANGUAGE sql AS 'SELECT 1'",
         "function 'record_append_v5'"),
        ("CREATE VIEW subscriptions AS SELECT 1", "view 'subscriptions'"),
        ("CREATE TABLE subscription_topics (mine text)", "table 'subscription_topics'"),
        ("CREATE SEQUENCE subscription_failures", "sequence 'subscription_failures'"),
        ("CREATE TYPE subscription_settles AS ENUM ('a')", "type 'subscription_settles'"),
        ("CREATE TABLE x (y text); CREATE INDEX subscription_dead_letters ON x (y)",
         "index 'subscription_dead_letters'"),
        ("CREATE FUNCTION change_subscriptions_v7() RETURNS int LANGUAGE sql AS 'SELECT 1'",
         "function 'change_subscriptions_v7'"),
    ],
)  # fmt: skip
async def test_what_another_program_has_there_is_named_with_the_remedy(
    database: Database, statement: str, what: str
) -> None:
    await execute(database, statement)
    before = await logs(database)
    assert await refusal(database.dsn) == (
        f"the schema 'public' of the Postgres database has a {what} that is not of this program: "
        "use another database, or a schema of its own with --schema"
    )
    assert await logs(database) == before
    assert await stored(database.dsn, "a", "own") == [("stored", 1)]


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("CREATE VIEW writers AS SELECT 1", "view 'writers'"),
        ("CREATE FUNCTION append_if_unchanged_v4() RETURNS int LANGUAGE sql AS 'SELECT 1'",
         "function 'append_if_unchanged_v4'"),
        ("CREATE VIEW appends AS SELECT 1", "view 'appends'"),
    ],
)  # fmt: skip
async def test_what_is_in_the_way_of_a_migration_is_named_and_the_log_stays_as_it_is(
    database: Database, statement: str, what: str
) -> None:
    """A later version needs names that an earlier one left to others."""
    before = "".join(step.sql for step in migrations("postgres")[:3])
    await execute(
        database,
        f"{before}CREATE TABLE aggregator_schema (version integer NOT NULL PRIMARY KEY)",
        "INSERT INTO aggregator_schema VALUES (1), (2), (3)",
        statement,
    )
    for named in (None, "public"):
        assert f"has a {what} that is not of this program" in await refusal(database.dsn, named)
    async with connected(database) as connection:
        versions = await connection.fetchval("SELECT max(version) FROM aggregator_schema")
        assert versions == 3
        await connection.execute(f"DROP {what.replace(chr(39), '')}")
    assert await stored(database.dsn, "a") == [("stored", 1)]

"""Which schema of a Postgres database has the log: found, chosen, made, refused."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import asyncpg
import pytest
from support.backends import Database, PostgresServer
from support.events import event
from support.scene import told
from support.schemas import connected, execute, logs, refusal, stored
from support.verifying import ORDERS, SHIPMENTS, SOUND, Verified, fill, verified

from storage.backends import postgres_snapshot
from storage.errors import StorageError
from storage.postgres.store import PostgresStore

ODD = 'Log "of" \\ \'24, naïve'


@pytest.fixture
def backend() -> str:
    return "postgres"


class Role(NamedTuple):
    """A role that owns the database, but is no superuser."""

    name: str
    dsn: str


@pytest.fixture
async def role(database: Database, postgres_server: PostgresServer) -> AsyncIterator[Role]:
    async with connected(database) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"CREATE ROLE r_{name} LOGIN")
        await connection.execute(f"ALTER DATABASE {name} OWNER TO r_{name}")
        dsn = database.dsn.replace("://postgres:@", f"://r_{name}:@").replace(
            "://postgres@", f"://r_{name}@"
        )
        assert dsn != database.dsn
        yield Role(f"r_{name}", dsn)
        await connection.execute(f"REASSIGN OWNED BY r_{name} TO postgres")
        await connection.execute(f"ALTER DATABASE {name} OWNER TO postgres")
        await connection.execute(f"DROP OWNED BY r_{name}; DROP ROLE r_{name}")


async def rename(database: Database, new: str) -> None:
    """As a restore into a schema of its own leaves it."""
    quoted = new.replace('"', '""')
    await execute(database, f'ALTER SCHEMA public RENAME TO "{quoted}"', "CREATE SCHEMA public")


@pytest.mark.parametrize("schema", ["restored", "Restored", ODD])
async def test_a_log_in_another_schema_is_named_and_no_empty_one_made_beside_it(
    database: Database, schema: str
) -> None:
    assert await stored(database.dsn, "a") == [("stored", 1)]
    await rename(database, schema)
    sentence = await refusal(database.dsn)
    assert repr(schema) in sentence
    assert "not in 'public'" in sentence
    assert "--schema" in sentence
    assert await logs(database) == [schema]
    assert await stored(database.dsn, "a", schema) == [("duplicate", 1)]
    assert await logs(database) == [schema]


@pytest.mark.parametrize(
    "path", ["elsewhere", "elsewhere, public", "public, elsewhere", "pg_temp, nowhere"]
)
async def test_a_named_schema_is_used_whatever_the_search_path_is(
    database: Database, path: str
) -> None:
    assert await stored(database.dsn, "a") == [("stored", 1)]
    async with connected(database) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute("CREATE SCHEMA elsewhere")
        await connection.execute("CREATE TABLE elsewhere.topics (mine text)")
        await connection.execute(f"ALTER DATABASE {name} SET search_path = {path}")
    assert await stored(database.dsn, "a", "public") == [("duplicate", 1)]
    assert await stored(database.dsn, "b", "public") == [("stored", 2)]


async def test_a_search_path_that_leads_past_the_log_is_refused(database: Database) -> None:
    assert await stored(database.dsn, "a") == [("stored", 1)]
    async with connected(database) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute("CREATE SCHEMA first")
        await connection.execute(f"ALTER DATABASE {name} SET search_path = first, public")
    assert "a log in the schema 'public', not in 'first'" in await refusal(database.dsn)
    assert await logs(database) == ["public"]


async def test_a_search_path_without_a_schema_is_refused(database: Database) -> None:
    async with connected(database) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET search_path = nowhere")
    assert "no schema of the role's search_path exists" in await refusal(database.dsn)
    assert await stored(database.dsn, "a", "public") == [("stored", 1)]
    assert "there is a log in 'public'" in await refusal(database.dsn)


async def test_the_schema_stays_when_the_search_path_changes_meanwhile(database: Database) -> None:
    """What was read from the log when it was opened holds for every connection made later."""
    store = PostgresStore(database.dsn)
    await store.open()
    assert told(await store.append([event("t", "a")])) == [("stored", 1)]
    async with connected(database) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute("CREATE SCHEMA later")
        await connection.execute(f"ALTER DATABASE {name} SET search_path = later")
    await store._expire()
    assert told(await store.append([event("t", "a")])) == [("duplicate", 1)]
    assert await store.get("t", "a") is not None
    await store.aclose()


@pytest.mark.parametrize("schema", ["mine", ODD])
async def test_a_named_schema_that_is_not_there_is_made(database: Database, schema: str) -> None:
    assert await stored(database.dsn, "a", schema) == [("stored", 1)]
    assert await logs(database) == [schema]


async def test_a_slip_of_the_pen_makes_no_second_log(database: Database) -> None:
    assert await stored(database.dsn, "a", "log") == [("stored", 1)]
    assert "a log in the schema 'log', not in 'lgo'" in await refusal(database.dsn, "lgo")
    assert await logs(database) == ["log"]


async def test_a_schema_that_was_made_for_it_takes_a_second_log(database: Database) -> None:
    assert await stored(database.dsn, "a") == [("stored", 1)]
    await execute(database, "CREATE SCHEMA second")
    for number, outcome in enumerate(["stored", "duplicate"]):
        assert await stored(database.dsn, "a", "second") == [(outcome, 1)], number
    assert await stored(database.dsn, "a", "public") == [("duplicate", 1)]
    assert await logs(database) == ["public", "second"]


async def test_temporary_tables_of_the_session_hide_nothing(database: Database) -> None:
    """As a pooler may leave them behind that does not reset a session."""
    store = PostgresStore(database.dsn)
    await store.open()
    assert store._writers is not None
    async with store._writers.driver_pool.acquire() as connection:
        await connection.execute("CREATE TEMPORARY TABLE events (mine text)")
    assert told(await store.append([event("t", "a")])) == [("stored", 1)]
    assert told(await store.append([event("t", "a")])) == [("duplicate", 1)]
    await store.aclose()


@pytest.mark.parametrize(
    ("statements", "remedy"),
    [
        (["REVOKE ALL ON SCHEMA {s} FROM PUBLIC, {r}"], "GRANT USAGE ON SCHEMA public TO {r}"),
        (["REVOKE CREATE ON SCHEMA {s} FROM PUBLIC, {r}"], "GRANT CREATE ON SCHEMA public TO {r}"),
    ],
)
async def test_a_role_that_may_not_make_a_log_is_told_what_to_grant(
    database: Database, role: Role, statements: list[str], remedy: str
) -> None:
    await execute(database, "ALTER SCHEMA public OWNER TO postgres", *(
        statement.format(s="public", r=role.name) for statement in statements
    ))  # fmt: skip
    assert remedy.format(r=role.name) in await refusal(role.dsn, "public")


async def test_a_role_that_may_not_make_the_schema_is_told_so(
    database: Database, role: Role
) -> None:
    async with connected(database) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} OWNER TO postgres")
    sentence = await refusal(role.dsn, "New one")
    assert sentence.endswith(f'CREATE SCHEMA "New one" AUTHORIZATION {role.name}')


@pytest.mark.parametrize(
    ("right", "table"),
    [
        ("SELECT", "aggregator_schema"),
        ("INSERT", "events"),
        ("UPDATE", "topics"),
        ("SELECT", "writers"),
        ("INSERT", "writers"),
        ("UPDATE", "writers"),
        ("DELETE", "writers"),
        ("INSERT", "subscriptions"),
        ("UPDATE", "subscription_topics"),
        ("SELECT", "subscription_failures"),
        ("DELETE", "subscription_settles"),
    ],
)
async def test_a_right_that_a_table_lacks_is_told_at_the_start(
    database: Database, role: Role, right: str, table: str
) -> None:
    """As after a restore with --no-privileges by another role."""
    await stored(database.dsn, "a")
    others = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}"
    await execute(
        database,
        others.format(role.name),
        f"REVOKE {right} ON {table} FROM {role.name}",
    )
    assert f"GRANT {right} ON public.{table} TO {role.name}" in await refusal(role.dsn)
    await execute(database, others.format(role.name))
    assert await stored(role.dsn, "a") == [("duplicate", 1)]


async def test_a_table_that_a_crash_empties_is_refused(database: Database) -> None:
    await stored(database.dsn, "a")
    await execute(database, "ALTER TABLE events SET UNLOGGED")
    assert "ALTER TABLE public.events SET LOGGED" in await refusal(database.dsn)


@pytest.mark.parametrize("schema", ["restored", ODD])
def test_verify_recounts_the_schema_that_is_named(database: Database, schema: str) -> None:
    fill(database, ORDERS, SHIPMENTS)
    assert verified(database).out == SOUND
    asyncio.run(rename(database, schema))
    for wrong in (None, "other"):
        snapshot = postgres_snapshot(database.dsn, schema=wrong)
        with pytest.raises(StorageError) as caught:
            snapshot.open()
        snapshot.close()
        assert repr(schema) in str(caught.value)
        assert "--schema" in str(caught.value)
    assert verified(database, "--schema", schema) == Verified(0, SOUND, "")


async def test_nobody_else_can_have_the_owner_of_the_log_write_for_them(
    database: Database, role: Role
) -> None:
    """The function behind the triggers has its owner's rights, and writes where it is called."""
    await stored(database.dsn, "a")
    await execute(database, f"GRANT USAGE ON SCHEMA public TO {role.name}")
    own = await asyncpg.connect(role.dsn)
    try:
        await own.execute("CREATE SCHEMA own; CREATE TABLE own.topics (topic text)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="record_append_v5"):
            await own.execute(
                "CREATE TRIGGER mine AFTER INSERT ON own.topics FOR EACH ROW "
                "EXECUTE FUNCTION public.record_append_v5()"
            )
    finally:
        await own.close()

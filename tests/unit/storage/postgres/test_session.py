"""A store does not depend on the defaults of its server: it sets what durability needs."""

import asyncpg
import pytest
from support.backends import Database
from support.events import event
from support.observer import Observer
from support.reading import get_event
from support.scene import told
from support.unprotected import lock_first

from storage.errors import StorageMisconfigured, StorageUnavailable
from storage.postgres import locked_append as postgres_locked_append
from storage.postgres import session as postgres_session
from storage.postgres.errors import SHARED, SessionShared, translated
from storage.postgres.session import enable_client_check, session_settings
from storage.postgres.store import PostgresStore


@pytest.fixture
def backend() -> str:
    return "postgres"


async def alter(database: Database, setting: str) -> None:
    """Change a default of the database; holds for connections made from now on."""
    async with Observer.on(database) as observer:
        ((name,),) = await observer.fetch("SELECT current_database()")
        await observer.fetch("SET default_transaction_read_only = off")
        await observer.fetch(f"ALTER DATABASE {name} SET {setting}")


async def shown(store: PostgresStore, setting: str) -> str:
    """A setting of the session that writes."""
    assert store._writers is not None
    async with store._writers.driver_pool.acquire() as connection:
        return str(await connection.fetchval("SELECT current_setting($1)", setting))


async def test_a_session_whose_client_is_gone_has_an_end_whatever_the_default(
    database: Database,
) -> None:
    await alter(database, "idle_in_transaction_session_timeout = 0")
    await alter(database, "client_connection_check_interval = 0")
    await alter(database, "statement_timeout = 50")
    store = PostgresStore(database.dsn, command_timeout_s=20)
    await store.open()
    assert await shown(store, "idle_in_transaction_session_timeout") == "10s"
    assert await shown(store, "client_connection_check_interval") == "1s"
    # The client's own comes first.
    assert await shown(store, "statement_timeout") == "30s"
    await store.aclose()


def test_over_tcp_a_client_that_hears_nothing_is_given_up() -> None:
    settings = session_settings(20)
    assert settings["tcp_user_timeout"] == "10000"
    idle, interval, count = (
        int(settings[f"tcp_keepalives_{name}"]) for name in ("idle", "interval", "count")
    )
    assert idle + interval * count <= 20


def test_a_short_command_timeout_leaves_time_to_think_between_statements() -> None:
    assert session_settings(0.1)["idle_in_transaction_session_timeout"] == "1000"


async def test_a_server_that_can_not_look_for_its_client_is_used_all_the_same() -> None:
    class OnAnotherSystem:
        async def execute(self, _sql: str) -> str:
            raise asyncpg.InvalidParameterValueError(
                "client_connection_check_interval must be set to 0 on this platform"
            )

    await enable_client_check(OnAnotherSystem())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("default", "used"),
    [("off", "on"), ("local", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply")],
)
async def test_commits_are_flushed_whatever_the_default(
    database: Database, default: str, used: str
) -> None:
    await alter(database, f"synchronous_commit = {default}")
    store = PostgresStore(database.dsn)
    await store.open()
    assert await shown(store, "synchronous_commit") == used
    await store.aclose()


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("synchronous_commit", "off"),
        ("default_transaction_isolation", "serializable"),
        ("idle_in_transaction_session_timeout", "77"),
        ("statement_timeout", "7777"),
        ("enable_seqscan", "on"),
        ("TimeZone", "Asia/Kathmandu"),
    ],
)
async def test_a_setting_that_does_not_hold_is_refused_by_its_name(
    database: Database, name: str, default: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where what stands between drops it."""
    await alter(database, f"{name} = '{default}'")
    whole = postgres_session.set_settings

    def without_it(settings: dict[str, str], schema: str | None) -> str:
        left = {each: value for each, value in settings.items() if each != name}
        return whole(left, schema).replace("SET statement_timeout = 0;", "")

    monkeypatch.setattr(postgres_session, "set_settings", without_it)
    with pytest.raises(StorageMisconfigured) as caught:
        await PostgresStore(database.dsn).open()
    assert str(caught.value).startswith(f"Postgres: {name} is {default!r} in a session that set it")
    assert "connect to Postgres itself" in str(caught.value)


async def lose_the_sessions(store: PostgresStore) -> None:
    """Let every open connection have a session in which nothing is set."""
    for pool in (store._writers, store._readers):
        assert pool is not None
        for _ in range(pool.driver_pool.get_idle_size()):
            async with pool.driver_pool.acquire() as connection:
                await connection.execute("RESET ALL")


@pytest.mark.parametrize("optimistic", [True, False])
async def test_nothing_is_stored_or_read_in_another_session(
    database: Database, optimistic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not optimistic:
        lock_first(monkeypatch)
    store = PostgresStore(database.dsn)
    await store.open()
    await store.append([event("t", "a")])
    await lose_the_sessions(store)
    with pytest.raises(StorageUnavailable) as caught:
        await store.append([event("t", "b")])
    assert str(caught.value) == SHARED
    with pytest.raises(StorageUnavailable) as caught:
        await get_event(store, "t", "a")
    assert str(caught.value) == SHARED
    async with Observer.on(database) as observer:
        assert (await observer.snapshot()).counts == {"t": (1, 1, 0, 0)}
    # Once it was asked again, with new connections, it goes on.
    await store.ping()
    assert told(await store.append([event("t", "b")])) == [("stored", 2)]
    assert await get_event(store, "t", "a") is not None
    await store.aclose()


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DuplicatePreparedStatementError("exists"),
        asyncpg.InvalidSQLStatementNameError("is not there"),
        asyncpg.ProtocolViolationError("transaction blocks not allowed in statement pooling mode"),
    ],
)
async def test_what_only_a_shared_session_can_say_is_told_as_that(
    error: asyncpg.PostgresError,
) -> None:
    with pytest.raises(SessionShared):
        async with translated():
            raise error


@pytest.mark.parametrize("default", ["serializable", "repeatable read"])
async def test_a_transaction_is_read_committed_whatever_the_default(
    database: Database, default: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await alter(database, f"default_transaction_isolation = '{default}'")
    async with Observer.on(database) as observer:
        assert await observer.fetch("SHOW transaction_isolation") == [(default,)]
    seen = []
    write = postgres_locked_append._write

    async def looking(connection: object, *arguments: object, **options: object) -> object:
        seen.append(await connection.fetchval("SHOW transaction_isolation"))  # type: ignore[attr-defined]
        return await write(connection, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(postgres_locked_append, "_write", looking)
    store = PostgresStore(database.dsn)
    await store.open()
    await store.append([event("t", "x")])
    assert seen == ["read committed"]
    # An optimistic append is stored by a statement that is a transaction of its own.
    assert await shown(store, "transaction_isolation") == "read committed"
    await store.aclose()


async def test_a_read_only_database_is_unavailable_until_it_is_writable(
    database: Database,
) -> None:
    store = PostgresStore(database.dsn)
    await store.open()
    await alter(database, "default_transaction_read_only = on")
    again = PostgresStore(database.dsn)
    with pytest.raises(StorageUnavailable, match="read-only"):
        await again.open()
    await alter(database, "default_transaction_read_only = off")
    await again.open()
    await again.ping()
    await again.append([event("t", "x")])
    await again.aclose()
    await store.aclose()


async def test_times_do_not_depend_on_the_time_zone_of_the_server(database: Database) -> None:
    await alter(database, "timezone = 'Asia/Kathmandu'")
    store = PostgresStore(database.dsn)
    await store.open()
    sent = event("t", "x")
    await store.append([sent])
    found = await get_event(store, "t", "x")
    assert found is not None
    assert found.timestamp_us == sent.timestamp_us
    await store.aclose()

"""What the Postgres store does with a connection, and says, once an answer is bad or missing."""

import asyncio
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from support.backends import Database
from support.events import event
from support.observer import Observer
from support.unprotected import lock_first

from storage.errors import (
    BatchRefused,
    OutcomeUnknown,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)
from storage.postgres import errors as postgres_errors
from storage.postgres import locked_append
from storage.postgres.commit import commit
from storage.postgres.store import PostgresStore
from storage.postgres.turn import TurnQueue

BATCH = [event("t", name) for name in "abc"]


@pytest.fixture
def backend() -> str:
    return "postgres"


class Scripted:
    """A connection that answers as it is told, for what no server does on demand."""

    if_marked = "SELECT"

    def __init__(self, notice: Any = None, **answers: BaseException | str) -> None:
        self._notice = notice
        self._answers = answers
        self._listeners: list[Any] = []
        self.terminated = False

    async def execute(self, sql: str, *_arguments: object) -> str:
        command = sql.partition(" ")[0]
        answer = self._answers.get(command, "SELECT 1" if command == "BEGIN" else sql)
        if isinstance(answer, BaseException):
            raise answer
        if self._notice is not None:
            for listener in self._listeners:
                listener(self, self._notice)
        return answer

    def add_log_listener(self, listener: Any) -> None:
        self._listeners.append(listener)

    def remove_log_listener(self, listener: Any) -> None:
        self._listeners.remove(listener)

    def terminate(self) -> None:
        self.terminated = True


def notice(function: str) -> SimpleNamespace:
    return SimpleNamespace(server_source_function=function, message="the wait was canceled")


def with_details(*arguments: str, detail: str | None, hint: str | None) -> asyncpg.PostgresError:
    error = asyncpg.DataError(*arguments)
    error.detail, error.hint = detail, hint
    return error


async def terminated_others(observer: Observer) -> None:
    await observer.fetch(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def pinged(store: PostgresStore) -> str:
    """What a ping tells on the first connection that works."""
    for _ in range(5):
        try:
            await store.ping()
        except StorageUnavailable as error:
            if "read-only" in str(error):
                return str(error)
        else:
            return "writable"
    raise AssertionError("the store did not connect again")


async def test_a_refused_batch_costs_no_connection(
    database: Database, store: PostgresStore
) -> None:
    async with Observer.on(database) as observer:
        await observer.fetch('ALTER TABLE events ADD CONSTRAINT few CHECK ("offset" < 2)')
    assert store._writers is not None
    before = await store._writers.driver_pool.fetchval("SELECT pg_backend_pid()")
    with pytest.raises(BatchRefused):
        await store.append(BATCH)
    assert await store._writers.driver_pool.fetchval("SELECT pg_backend_pid()") == before


async def test_a_row_that_the_database_passes_over_is_told_and_nothing_is_stored(
    database: Database, store: PostgresStore
) -> None:
    async with Observer.on(database) as observer:
        await observer.fetch(
            "CREATE FUNCTION pass_over() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF new.event_id = 'b' THEN RETURN NULL; END IF; RETURN new; END $$"
        )
        await observer.fetch(
            "CREATE TRIGGER pass_over BEFORE INSERT ON events "
            "FOR EACH ROW EXECUTE FUNCTION pass_over()"
        )
    with pytest.raises(BatchRefused) as caught:
        await store.append(BATCH)
    assert str(caught.value) == (
        "Postgres answered 'INSERT 0 2' to 3 new events; nothing was committed"
    )
    assert (await store.stats()).topics == {}


@pytest.mark.parametrize(
    ("answer", "expected", "terminated"),
    [
        ("ROLLBACK", asyncpg.UniqueViolationError, False),
        (ConnectionResetError("cut"), asyncpg.UniqueViolationError, True),
        (asyncpg.AdminShutdownError("bye"), asyncpg.UniqueViolationError, True),
        (asyncio.CancelledError(), asyncio.CancelledError, True),
    ],
)
async def test_without_a_confirmed_rollback_the_connection_is_closed(
    answer: BaseException | str, expected: type[BaseException], terminated: bool
) -> None:
    connection = Scripted(BEGIN=asyncpg.UniqueViolationError("twice"), ROLLBACK=answer)
    with pytest.raises(expected):
        async with TurnQueue().next_turn() as turn:
            await locked_append.append(connection, BATCH, turn)  # type: ignore[arg-type]
    assert connection.terminated == terminated


async def test_a_commit_without_an_answer_leaves_the_outcome_open() -> None:
    connection = Scripted(COMMIT=TimeoutError())
    with pytest.raises(OutcomeUnknown) as caught:
        await commit(connection)  # type: ignore[arg-type]
    assert str(caught.value) == "Postgres: COMMIT was not answered: no answer in time"
    assert connection.terminated


async def test_a_commit_that_gave_up_its_standby_leaves_the_outcome_open() -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        await commit(Scripted(notice("SyncRepWaitForLSN")))  # type: ignore[arg-type]
    assert str(caught.value) == (
        "Postgres: a standby may not have what was committed: the wait was canceled"
    )


async def test_any_other_notice_says_nothing_about_a_commit() -> None:
    await commit(Scripted(notice("DoCheckpoint")))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "expected", "sentence"),
    [
        (TimeoutError(), StorageUnavailable, "Postgres is out of reach: no answer in time"),
        (TimeoutError("late"), StorageUnavailable, "Postgres is out of reach: late"),
        (ConnectionResetError(), StorageUnavailable,
         "Postgres is out of reach: ConnectionResetError"),
        (asyncpg.InvalidPasswordError("wrong"), StorageMisconfigured, "Postgres: wrong"),
        (asyncpg.DataError("one\nline"), BatchRefused, "Postgres: one line"),
        (with_details("a", detail="b", hint="c"), BatchRefused, "Postgres: a; b; c"),
        (with_details(detail="b", hint=None), BatchRefused, "Postgres: b"),
        (asyncpg.PostgresError("no code"), StorageUnavailable, "Postgres: no code"),
    ],
)  # fmt: skip
async def test_what_went_wrong_is_told_in_one_line(
    error: Exception, expected: type[StorageError], sentence: str
) -> None:
    with pytest.raises(expected) as caught:
        async with postgres_errors.translated():
            raise error
    assert str(caught.value) == sentence


async def test_an_idle_store_asks_the_connection_that_writes(store: PostgresStore) -> None:
    readers, store._readers = store._readers, None
    await store.ping()
    async with store._writer():
        with pytest.raises(StorageUnavailable, match="not connected yet"):
            await store.ping()
    store._readers = readers
    async with store._writer():
        await store.ping()


async def test_a_read_only_database_is_told_and_asked_anew_each_time(
    database: Database, store: PostgresStore
) -> None:
    async with Observer.on(database) as observer:
        ((name,),) = await observer.fetch("SELECT current_database()")
        read_only = f"ALTER DATABASE {name} SET default_transaction_read_only = "
        await observer.fetch(read_only + "on")
        await terminated_others(observer)
        assert await pinged(store) == "Postgres: the database is read-only"
        async with store._writer():
            assert await pinged(store) == "Postgres: the database is read-only"
        await observer.fetch(read_only + "off")
        # A connection that was kept would stay read-only for as long as it lives.
        assert await pinged(store) == "writable"
        async with store._writer():
            assert await pinged(store) == "writable"


async def test_a_statement_is_given_up_by_the_client_and_not_by_its_last_resort(
    database: Database, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append(BATCH)
    lock_first(monkeypatch)
    hasty = PostgresStore(database.dsn, command_timeout_s=0.1)
    await hasty.open()
    async with Observer.on(database) as observer:
        stranger = observer.connection.transaction()
        await stranger.start()
        await observer.fetch("SELECT * FROM topics FOR UPDATE")
        with pytest.raises(StorageUnavailable) as caught:
            await hasty.append(BATCH)
        await stranger.rollback()
    assert str(caught.value) == "Postgres is out of reach: no answer in time"
    await hasty.aclose()


@pytest.mark.parametrize(
    ("dsn", "sentence"),
    [
        ("http://somewhere/", "the DSN can't be used: invalid DSN"),
        ("postgresql://u:p@host:port/db", "the DSN can't be used: it, or a PG..."),
    ],
)
async def test_a_dsn_that_can_not_be_used_is_told(dsn: str, sentence: str) -> None:
    with pytest.raises(StorageMisconfigured) as caught:
        await PostgresStore(dsn).open()
    assert str(caught.value).startswith(sentence)


async def test_a_parameter_of_the_dsn_that_nobody_knows_is_told(database: Database) -> None:
    joint = "&" if "?" in database.dsn else "?"
    with pytest.raises(StorageMisconfigured) as caught:
        await PostgresStore(f"{database.dsn}{joint}connect_timeout=10").open()
    assert str(caught.value) == (
        'Postgres: unrecognized configuration parameter "connect_timeout"; '
        "if it is in the query of the DSN, take it out there"
    )


async def test_a_right_that_is_taken_away_meanwhile_is_waited_for(database: Database) -> None:
    """At the start it would be the end; now the aggregator runs, and it may be given again."""
    store = PostgresStore(database.dsn)
    await store.open()
    with pytest.raises(StorageUnavailable, match="denied"):
        async with store._writer():
            raise asyncpg.InsufficientPrivilegeError("permission denied for table events")
    await store.aclose()


async def test_closing_gives_up_a_connection_that_is_not_given_back(database: Database) -> None:
    store = PostgresStore(database.dsn)
    await store.open()
    assert store._readers is not None
    kept = await store._readers.acquire()
    store._readers._connect_timeout_s = 0.05
    await store.aclose()
    with pytest.raises(asyncpg.InterfaceError):
        await kept.execute("SELECT 1")

"""The aggregator behind PgBouncer: session pooling as without it, any other refused."""

import asyncio
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from support.backends import Database
from support.careless import careless_role, check_survives_crashes
from support.command import run_to_end
from support.events import event
from support.load import (
    Told,
    batch_of,
    check_kept,
    publish,
    publish_until_taken,
    session,
    until_answer,
    until_ready,
)
from support.own_postgres import OwnPostgres, own_postgres
from support.pgbouncer import PgBouncer, pgbouncer
from support.processes import Aggregator
from support.verifying import ORDERS, SHIPMENTS, SOUND, fill, verified

from storage.errors import StorageMisconfigured, StorageUnavailable
from storage.postgres import store as postgres_store
from storage.postgres.errors import SHARED, SessionShared
from storage.postgres.store import PostgresStore
from storage.postgres.writer_registry import WriterRow

Run = Callable[..., Aggregator]

PAGE = Path(__file__).parents[2] / "docs" / "operate" / "postgres.md"


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgres]:
    with own_postgres() as server:
        server.start()
        yield server


@contextmanager
def new_database(server: OwnPostgres) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    server.execute(f"CREATE DATABASE {name}")
    yield name
    server.reset()
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def name(server: OwnPostgres) -> Iterator[str]:
    """The name of an empty database."""
    with new_database(server) as name:
        yield name


@pytest.fixture(scope="module")
def untouched(server: OwnPostgres) -> Iterator[str]:
    """The name of an empty database that every test leaves empty."""
    with new_database(server) as name:
        yield name


def documented() -> list[str]:
    """The settings that the documentation recommends, but for where it listens and to whom."""
    (block,) = re.findall(r"```ini\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    lines = block.partition("[pgbouncer]")[2].split("\n")
    return [line for line in lines if not line.startswith(("listen_", "auth_"))]


async def busy(dsn: str, stop: asyncio.Event) -> int:
    """Another program behind the pooler that begins and ends transactions; how many."""
    connection = await asyncpg.connect(dsn, statement_cache_size=0)
    transactions = 0
    while not stop.is_set():
        await connection.execute("BEGIN; SELECT pg_sleep(0.001); COMMIT")
        transactions += 1
    await connection.close()
    return transactions


async def refused(pooler: PgBouncer, name: str) -> str:
    """What a store says that is opened there; it must give up."""
    store = PostgresStore(pooler.dsn_for("postgres", name), connect_timeout_s=20)
    with pytest.raises(StorageMisconfigured) as caught:
        await store.open()
    return str(caught.value)


async def tables(server: OwnPostgres, name: str) -> list[str]:
    """The tables of the database."""
    connection = await asyncpg.connect(server.dsn_for("postgres", database=name))
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return [table for (table,) in rows]


async def test_in_session_pooling_a_careless_role_loses_nothing(
    run_aggregator: Run, server: OwnPostgres, name: str
) -> None:
    """With nothing in the pooler's configuration for it."""
    with (
        careless_role(server, name) as role,
        pgbouncer(server, "pool_mode = session", users=(role,)) as pooler,
    ):
        own_dsn = server.dsn_for("postgres", database=name)
        dsn = pooler.dsn_for(role, name)
        await check_survives_crashes(run_aggregator, server, dsn, own_dsn)


async def test_a_pooler_that_is_started_anew_is_connected_to_anew(
    run_aggregator: Run, server: OwnPostgres, name: str
) -> None:
    """Configured as the documentation has it."""
    with pgbouncer(server, *documented()) as pooler:
        aggregator = await asyncio.to_thread(
            run_aggregator, "--dsn", pooler.dsn_for("postgres", name)
        )
        told = Told()
        async with session() as client:
            await until_ready(client, aggregator.url)
            assert await publish(client, aggregator.url, batch_of("t", ["a"]), told) == 200
            await asyncio.to_thread(pooler.stop)
            assert await publish(client, aggregator.url, batch_of("t", ["b"]), told) == 503
            await until_answer(client, f"{aggregator.url}/ready", 503, "out of reach")
            await asyncio.to_thread(pooler.start)
            await publish_until_taken(client, aggregator.url, batch_of("t", ["b"]), told)
            await check_kept(client, aggregator.url, told, ["t"])


@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize(
    "settings",
    [
        ("default_pool_size = 1",),
        ("default_pool_size = 2",),
        ("default_pool_size = 20",),
        ("default_pool_size = 2", "server_round_robin = 1"),
        ("default_pool_size = 20", "min_pool_size = 5", "server_round_robin = 1"),
        ("default_pool_size = 20", "server_reset_query_always = 1"),
    ],
    ids=" ".join,
)
async def test_transaction_pooling_is_refused_at_every_start(
    server: OwnPostgres, untouched: str, settings: tuple[str, ...], others: int
) -> None:
    with pgbouncer(server, "pool_mode = transaction", *settings) as pooler:
        dsn, stop = pooler.dsn_for("postgres", untouched), asyncio.Event()
        strangers = [asyncio.create_task(busy(dsn, stop)) for _ in range(others)]
        for _ in range(3):
            assert await refused(pooler, untouched) == SHARED
        stop.set()
        assert all(await asyncio.gather(*strangers))
    assert await tables(server, untouched) == []


async def test_statement_pooling_is_refused(server: OwnPostgres, untouched: str) -> None:
    with pgbouncer(server, "pool_mode = statement") as pooler:
        for _ in range(2):
            assert await refused(pooler, untouched) == SHARED
    assert await tables(server, untouched) == []


def test_a_process_behind_transaction_pooling_ends_with_one_sentence(
    tmp_path: Path, server: OwnPostgres, untouched: str
) -> None:
    with pgbouncer(server, "pool_mode = transaction") as pooler:
        dsn = pooler.dsn_for("postgres", untouched)
        ended = run_to_end("--dsn", dsn, "--port", "0", cwd=tmp_path)
    assert (ended.code, ended.err) == (2, f"aggregator: {SHARED}\n")


async def test_what_the_start_did_not_notice_is_noticed_before_anything_is_stored(
    server: OwnPostgres, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the pooler had given each its own session by luck; then it gives another's."""

    async def lucky(*_connections: object) -> None: ...

    settings = ("pool_mode = transaction", "default_pool_size = 20", "server_round_robin = 1")
    with pgbouncer(server, *settings) as pooler:
        dsn, stop = pooler.dsn_for("postgres", name), asyncio.Event()
        stranger = asyncio.create_task(busy(dsn, stop))
        store = PostgresStore(dsn)
        monkeypatch.setattr(postgres_store, "check_separate_sessions", lucky)
        monkeypatch.setattr(WriterRow, "insert", lucky)
        for _ in range(200):
            try:
                await store.open()
            except StorageMisconfigured:
                continue
            break
        monkeypatch.undo()
        outcomes = await asyncio.gather(
            *(store.append([event("t", f"{number}")]) for number in range(20)),
            return_exceptions=True,
        )
        refusals = [each for each in outcomes if isinstance(each, BaseException)]
        assert {(type(each), str(each)) for each in refusals} == {(SessionShared, SHARED)}
        with pytest.raises(StorageUnavailable) as caught:
            await store.ping()
        assert str(caught.value) == SHARED
        stop.set()
        await stranger
        await store.aclose()


async def test_a_pool_of_one_is_told_in_a_sentence(server: OwnPostgres, name: str) -> None:
    with pgbouncer(server, "pool_mode = session", "default_pool_size = 1") as pooler:
        store = PostgresStore(pooler.dsn_for("postgres", name), connect_timeout_s=1)
        with pytest.raises(StorageUnavailable, match="needs two connections at the least"):
            await store.open()


async def test_a_pool_of_two_is_enough(run_aggregator: Run, server: OwnPostgres, name: str) -> None:
    settings = ("pool_mode = session", "default_pool_size = 2", "query_wait_timeout = 1")
    with pgbouncer(server, *settings) as pooler:
        aggregator = await asyncio.to_thread(
            run_aggregator, "--dsn", pooler.dsn_for("postgres", name)
        )
        told = Told()
        async with session() as client:
            await until_ready(client, aggregator.url)
            batches = [batch_of("t", [f"{number}"]) for number in range(40)]
            publishing = [publish(client, aggregator.url, batch, told) for batch in batches]
            assert set(await asyncio.gather(*publishing)) == {200}
            await check_kept(client, aggregator.url, told, ["t"])


async def test_in_session_pooling_an_open_store_is_in_the_table_of_writers(
    server: OwnPostgres, name: str
) -> None:
    own = await asyncpg.connect(server.dsn_for("postgres", database=name))
    with pgbouncer(server, *documented()) as pooler:
        store = PostgresStore(pooler.dsn_for("postgres", name))
        await store.open()
        assert await own.fetchval("SELECT count(*) FROM writers") == 1
        await store.aclose()
        assert await own.fetchval("SELECT count(*) FROM writers") == 0
    await own.close()


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_verify_recounts_behind_it(server: OwnPostgres, name: str, mode: str) -> None:
    own = Database("postgres", server.data, server.dsn_for("postgres", database=name))
    await asyncio.to_thread(fill, own, ORDERS, SHIPMENTS)
    with pgbouncer(server, f"pool_mode = {mode}") as pooler:
        through = own._replace(dsn=pooler.dsn_for("postgres", name))
        for _ in range(2):
            ended = await asyncio.to_thread(verified, through)
            assert (ended.code, ended.out) == (0, SOUND)


async def test_a_parameter_of_the_dsn_that_it_refuses_is_told_with_the_remedy(
    server: OwnPostgres, name: str
) -> None:
    with pgbouncer(server, "pool_mode = session") as pooler:
        store = PostgresStore(pooler.dsn_for("postgres", f"{name}?work_mem=64MB"))
        with pytest.raises(StorageMisconfigured) as caught:
            await store.open()
    assert "unsupported startup parameter: work_mem" in str(caught.value)
    assert "ignore_startup_parameters" in str(caught.value)

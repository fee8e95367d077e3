"""Postgres that is not there, goes away, ends connections or turns read-only."""

import asyncio
import itertools
from collections.abc import Callable

import aiohttp
from service.conftest import OwnDatabase
from support.load import (
    LIMIT_S,
    Told,
    batch_of,
    check_conservation,
    check_kept,
    get_json,
    keys_of,
    publish,
    publish_until_taken,
    session,
    until_answer,
    until_ready,
)
from support.processes import Aggregator

Run = Callable[..., Aggregator]
TOPICS = ["orders", "visits"]


class Load:
    """Publishers that go on, whatever is answered, until they are stopped."""

    def __init__(self, client: aiohttp.ClientSession, url: str, told: Told) -> None:
        self._client, self._url, self._told = client, url, told
        self._stopped = False
        self._tasks = [asyncio.create_task(self._publish(number)) for number in range(6)]

    async def _publish(self, publisher: int) -> None:
        for number in itertools.count():
            if self._stopped:
                return
            # Half of each batch was in the one before.
            ids = [f"{publisher}-{number * 3 + n}" for n in range(6)]
            batch = batch_of(TOPICS[publisher % 2], ids)
            status = await publish(self._client, self._url, batch, self._told)
            # The aggregator itself is there all the time.
            assert status in {200, 503}
            await asyncio.sleep(0.005 if status == 200 else 0.05)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds."""
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                for task in self._tasks:
                    if task.done():
                        await task
                await asyncio.sleep(0.01)

    async def until_more_is_acknowledged(self) -> None:
        """Return once some requests were acknowledged that are not yet."""
        enough = self._told.requests + 20
        await self.until(lambda: self._told.requests >= enough)

    async def until_more_is_refused(self) -> None:
        """Return once some requests were refused that are not yet."""
        enough = len(self._told.refused) + 6
        await self.until(lambda: len(self._told.refused) >= enough)

    async def stop(self) -> None:
        """Let every publisher hear the answer to its last request."""
        self._stopped = True
        await asyncio.gather(*self._tasks)


async def check_all(client: aiohttp.ClientSession, url: str, told: Told) -> None:
    """Nothing acknowledged is lost, and counts are those of whole requests."""
    stored, stats = await check_kept(client, url, told, TOPICS)
    possible = set(told.offsets).union(*map(keys_of, told.uncertain))
    assert set(stored) <= possible
    late = sum(len(batch) for batch in told.uncertain)
    assert told.received <= stats["received"] <= told.received + late


async def test_started_while_postgres_is_down_it_waits_and_becomes_ready_by_itself(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    own_database.server.stop()
    aggregator = run_aggregator(*own_database.arguments())
    url, told = aggregator.url, Told()
    async with session() as client:
        assert await get_json(client, f"{url}/health") == {"status": "ok"}
        problem = await get_json(client, f"{url}/ready", status=503)
        assert "Postgres is out of reach" in problem["detail"]
        assert await publish(client, url, batch_of("orders", ["e-1"]), told) == 503
        problem = await get_json(client, f"{url}/stats", status=503)
        assert problem["status"] == 503

        await asyncio.to_thread(own_database.server.start)
        await until_ready(client, url)
        assert await publish(client, url, batch_of("orders", ["e-2"]), told) == 200
        stored, stats = await check_kept(client, url, told, ["orders"])
    assert list(stored) == [("orders", "e-2")]
    assert stats["received"] == 1
    assert aggregator.log_lines("storage_unavailable")
    assert aggregator.log_lines("storage_available")


def test_postgres_that_comes_up_without_the_database_ends_it_with_the_reason(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    own_database.server.stop()
    dsn = own_database.server.dsn_for("postgres", database="no_such_database")
    aggregator = run_aggregator("--dsn", dsn)
    own_database.server.start()
    assert aggregator.process.wait(LIMIT_S) == 2
    last = aggregator.written().decode().splitlines()[-1]
    assert last.startswith("aggregator: ")
    assert "no_such_database" in last


async def test_a_crash_of_postgres_under_load_loses_nothing_that_was_acknowledged(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    told = Told()
    async with session() as client:
        load = Load(client, aggregator.url, told)
        for _ in range(2):
            await load.until_more_is_acknowledged()
            await asyncio.to_thread(own_database.server.crash)
            await load.until_more_is_refused()
            await until_answer(client, f"{aggregator.url}/ready", 503, "Postgres")
            await asyncio.to_thread(own_database.server.start)
            await load.until_more_is_acknowledged()
        await load.stop()
        await check_all(client, aggregator.url, told)
    assert aggregator.process.poll() is None
    assert b"Traceback" not in aggregator.written()


async def test_connections_that_an_operator_ends_are_replaced(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    told = Told()
    async with session() as client:
        load = Load(client, aggregator.url, told)
        for _ in range(4):
            await load.until_more_is_acknowledged()
            await asyncio.to_thread(
                own_database.execute,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
        await load.until_more_is_acknowledged()
        await load.stop()
        await until_ready(client, aggregator.url)
        await check_all(client, aggregator.url, told)
    log = own_database.server.log.read_bytes()
    assert b"due to administrator command" in log


async def test_while_postgres_is_read_only_publishes_are_refused_and_reads_go_on(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    server = own_database.server
    aggregator = run_aggregator(*own_database.arguments())
    url, told = aggregator.url, Told()
    async with session() as client:
        assert await publish(client, url, batch_of("orders", ["e-1"]), told) == 200
        await asyncio.to_thread(
            server.execute, "ALTER SYSTEM SET default_transaction_read_only = on"
        )
        await asyncio.to_thread(server.execute, "SELECT pg_reload_conf()")
        await until_answer(client, f"{url}/ready", 503, "read-only")
        assert await publish(client, url, batch_of("orders", ["e-2"]), told) == 503
        check_conservation(await get_json(client, f"{url}/stats"))

        await asyncio.to_thread(server.execute, "ALTER SYSTEM RESET default_transaction_read_only")
        await asyncio.to_thread(server.execute, "SELECT pg_reload_conf()")
        await until_ready(client, url)
        await publish_until_taken(client, url, batch_of("orders", ["e-2"]), told)
        stored, stats = await check_kept(client, url, told, ["orders"])
    assert list(stored) == [("orders", "e-1"), ("orders", "e-2")]
    assert stats["received"] == 2


async def test_started_on_a_read_only_postgres_it_waits_until_it_can_write(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    server = own_database.server
    server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    server.execute("SELECT pg_reload_conf()")
    aggregator = run_aggregator(*own_database.arguments())
    async with session() as client:
        await until_answer(client, f"{aggregator.url}/ready", 503, "read-only")
        await asyncio.to_thread(server.execute, "ALTER SYSTEM RESET default_transaction_read_only")
        await asyncio.to_thread(server.execute, "SELECT pg_reload_conf()")
        await until_ready(client, aggregator.url)
        told = Told()
        assert await publish(client, aggregator.url, batch_of("orders", ["e-1"]), told) == 200

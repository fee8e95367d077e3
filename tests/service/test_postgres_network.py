"""The network between the aggregator and Postgres: cut, silent, slow."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import pytest
from service.conftest import OwnDatabase
from support.going_on import Load, check_all, check_log
from support.held import Place, held
from support.load import (
    Told,
    batch_of,
    check_kept,
    publish,
    publish_until_taken,
    session,
    until,
    until_answer,
    until_ready,
)
from support.postgres_proxy import PostgresProxy, Way, postgres_proxy
from support.processes import Aggregator

Run = Callable[..., Aggregator]

WHAT_COMMITS = re.compile(rb"COMMIT|\{\d")
"""What is sent to commit: COMMIT, or the statement of an optimistic append, which alone has arrays
as texts."""

SHORT = ("--postgres-command-timeout-ms", "1000")


class Network(NamedTuple):
    """A network between an aggregator and the test's server."""

    proxy: PostgresProxy
    arguments: list[str]
    """The command line of an aggregator that goes through it."""


@pytest.fixture
async def network(own_database: OwnDatabase) -> AsyncIterator[Network]:
    async with postgres_proxy(own_database.server) as (proxy, port):
        name = own_database.dsn.partition("?")[0].rpartition("/")[2]
        dsn = f"postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=disable"
        yield Network(proxy, ["--backend", "postgres", "--dsn", dsn])


async def run(run_aggregator: Run, *arguments: str) -> Aggregator:
    """Start an aggregator while the proxy of this event loop goes on."""
    return await asyncio.to_thread(run_aggregator, *arguments)


async def test_a_network_cut_again_and_again_loses_nothing_that_was_acknowledged(
    run_aggregator: Run, own_database: OwnDatabase, network: Network
) -> None:
    aggregator = await run(run_aggregator, *network.arguments)
    told = Told()
    async with session() as client:
        load = Load(client, aggregator.url, told)
        for _ in range(3):
            await load.until_more_is_acknowledged()
            network.proxy.cut_before = WHAT_COMMITS
            await load.until_more_is_refused()
            await until_answer(client, f"{aggregator.url}/ready", 503, "Postgres")
            # Whoever gives up after a few times must be found out.
            await load.until(lambda: network.proxy.refused >= 6)
            network.proxy.restore()
            await load.until_more_is_acknowledged()
        await load.stop()
        await check_all(client, aggregator.url, told)
    check_log(aggregator)


@pytest.mark.parametrize(
    "ways", [(Way.TO_SERVER,), (Way.TO_CLIENT,), tuple(Way)], ids=["out", "back", "both"]
)
async def test_a_network_gone_silent_is_noticed_and_recovered_from(
    run_aggregator: Run, network: Network, ways: tuple[Way, ...]
) -> None:
    aggregator = await run(run_aggregator, *network.arguments, *SHORT)
    told = Told()
    async with session() as client:
        load = Load(client, aggregator.url, told)
        await load.until_more_is_acknowledged()
        network.proxy.silence(*ways)
        await load.until_more_is_refused()
        await until_answer(client, f"{aggregator.url}/ready", 503, "out of reach")
        network.proxy.restore()
        await load.until_more_is_acknowledged()
        await load.stop()
        await until_ready(client, aggregator.url)
        await check_all(client, aggregator.url, told)
    check_log(aggregator)


async def test_a_topic_locked_by_an_aggregator_that_was_cut_off_is_free_again(
    run_aggregator: Run, own_database: OwnDatabase, network: Network
) -> None:
    """Its session stays as it is on the server, which hears nothing of the cut."""
    cut_off = await run(run_aggregator, *network.arguments, *SHORT)
    other = await run(run_aggregator, *own_database.arguments())
    told = Told()
    # A topic that is new is locked before the batch is decided.
    batch = batch_of("orders", ["e-1"]) + batch_of("new", ["e-1"])
    async with session() as client:
        assert await publish(client, other.url, batch_of("orders", ["e-0"]), told) == 200
        async with held(own_database.dsn, Place.COUNT) as holder:
            lost = asyncio.create_task(publish(client, cut_off.url, batch, told))
            pid = await holder.stopped()
            network.proxy.silence()
            await holder.let_go()
            await holder.until_idle_in_transaction(pid)
            assert await publish(client, other.url, batch_of("orders", ["e-2"]), told) == 200
            assert await lost == 503
            network.proxy.restore()
        await until_ready(client, cut_off.url)
        await publish_until_taken(client, cut_off.url, batch, told)
        kept, stats = await check_kept(client, cut_off.url, told, ["orders", "new"])
    orders = [("orders", name) for name in ("e-0", "e-2", "e-1")]
    assert list(kept) == [*orders, ("new", "e-1")]
    assert stats["received"] == 4
    log = own_database.server.log.read_bytes()
    assert b"due to idle-in-transaction timeout" in log


async def test_a_commit_whose_answer_the_network_swallows_is_found_by_the_retry(
    run_aggregator: Run, own_database: OwnDatabase, network: Network
) -> None:
    aggregator = await run(run_aggregator, *network.arguments, *SHORT)
    url, told, batch = aggregator.url, Told(), batch_of("orders", ["e-1", "e-2"])
    async with session() as client:
        assert await publish(client, url, batch_of("orders", ["e-0"]), told) == 200
        async with held(own_database.dsn, Place.COMMIT) as holder:
            publishing = asyncio.create_task(publish(client, url, batch, told))
            await holder.stopped()
            network.proxy.silence(Way.TO_CLIENT)
            await holder.let_go()
            assert await publishing == 503
            network.proxy.restore()
        await publish_until_taken(client, url, batch, told)
        kept, stats = await check_kept(client, url, told, ["orders"])
    assert len(kept) == 3
    assert (stats["received"], stats["duplicate_dropped"]) == (5, 2)


async def test_over_a_slow_network_everything_arrives(
    run_aggregator: Run, network: Network
) -> None:
    network.proxy.delay_s = 0.02
    network.proxy.piece_bytes = 1024
    # It connects over the slow network, too.
    aggregator = await run(run_aggregator, *network.arguments)
    told = Told()
    async with session() as client:
        load = Load(client, aggregator.url, told)
        await load.until_more_is_acknowledged()
        await load.stop()
        await check_all(client, aggregator.url, told)
    assert not told.refused


async def test_reads_over_a_silent_network_are_answered(
    run_aggregator: Run, network: Network
) -> None:
    aggregator = await run(run_aggregator, *network.arguments, *SHORT)
    url, told = aggregator.url, Told()
    async with session() as client:
        assert await publish(client, url, batch_of("orders", ["e-1"]), told) == 200
        network.proxy.silence()
        answers = await asyncio.gather(
            until_answer(client, f"{url}/stats", 503, "no answer in time"),
            until_answer(client, f"{url}/events?topic=orders&after=0", 503, "no answer in time"),
            until_answer(client, f"{url}/ready", 503, "out of reach"),
        )
        assert all("Postgres is out of reach" in answer for answer in answers)
        network.proxy.restore()
        await until_ready(client, url)
        await check_kept(client, url, told, ["orders"])
    check_log(aggregator)


async def test_an_aggregator_whose_network_is_silent_stops_in_time(
    run_aggregator: Run, network: Network
) -> None:
    aggregator = await run(run_aggregator, *network.arguments, "--drain-timeout-ms", "500")
    told = Told()
    async with session() as client:
        assert await publish(client, aggregator.url, batch_of("orders", ["e-1"]), told) == 200
        network.proxy.silence()
        publishing = asyncio.create_task(
            publish(client, aggregator.url, batch_of("orders", ["e-2"]), told)
        )
        reading = asyncio.create_task(
            until_answer(client, f"{aggregator.url}/stats", 503, "Postgres")
        )
        await until(lambda: network.proxy.held_back == 2)
        # Well below the time that a statement may take.
        assert await asyncio.to_thread(aggregator.stop) == 0
        assert await publishing == 503
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert aggregator.log_lines("stopped")
    check_log(aggregator)

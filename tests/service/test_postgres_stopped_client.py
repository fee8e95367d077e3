"""An aggregator that is stopped in mid-transaction, and what it holds up."""

import asyncio
import signal
from collections.abc import Callable

from service.conftest import OwnDatabase
from support.going_on import check_log
from support.held import Place, held
from support.load import (
    Told,
    batch_of,
    check_kept,
    publish,
    publish_until_taken,
    session,
    until_ready,
)
from support.processes import Aggregator

Run = Callable[..., Aggregator]


async def test_a_topic_locked_by_a_stopped_aggregator_is_free_again(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    arguments = (*own_database.arguments(), "--postgres-command-timeout-ms", "2000")
    stopped, other = run_aggregator(*arguments), run_aggregator(*arguments)
    told = Told()
    # A topic that is new is locked before the batch is decided.
    batch = batch_of("orders", ["e-1"]) + batch_of("new", ["e-1"])
    async with session() as client:
        assert await publish(client, other.url, batch_of("orders", ["e-0"]), told) == 200
        async with held(own_database.dsn, Place.COUNT) as holder:
            suspended = asyncio.create_task(publish(client, stopped.url, batch, told))
            pid = await holder.stopped()
            stopped.process.send_signal(signal.SIGSTOP)
            await holder.let_go()
            await holder.until_idle_in_transaction(pid)
            await publish_until_taken(client, other.url, batch_of("orders", ["e-2"]), told)
            assert not suspended.done()
            stopped.process.send_signal(signal.SIGCONT)
            assert await suspended == 503
        await until_ready(client, stopped.url)
        await publish_until_taken(client, stopped.url, batch, told)
        kept, stats = await check_kept(client, stopped.url, told, ["orders", "new"])
    orders = [("orders", name) for name in ("e-0", "e-2", "e-1")]
    assert list(kept) == [*orders, ("new", "e-1")]
    assert stats["received"] == 4
    check_log(stopped)
    check_log(other)


async def test_an_aggregator_that_is_stopped_holds_no_topic_that_it_did_not_lock_first(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    """An optimistic append is stored and committed by the server alone."""
    stopped = run_aggregator(*own_database.arguments())
    other = run_aggregator(*own_database.arguments())
    told = Told()
    async with session() as client:
        assert await publish(client, other.url, batch_of("orders", ["e-0"]), told) == 200
        async with held(own_database.dsn, Place.COUNT) as holder:
            suspended = asyncio.create_task(
                publish(client, stopped.url, batch_of("orders", ["e-1"]), told)
            )
            await holder.stopped()
            stopped.process.send_signal(signal.SIGSTOP)
            await holder.let_go()
            assert await publish(client, other.url, batch_of("orders", ["e-2"]), told) == 200
            assert not suspended.done()
            stopped.process.send_signal(signal.SIGCONT)
            assert await suspended == 200
        kept, _ = await check_kept(client, stopped.url, told, ["orders"])
    assert list(kept) == [("orders", name) for name in ("e-0", "e-1", "e-2")]
    check_log(stopped)
    check_log(other)


async def test_a_statement_of_an_aggregator_that_died_does_not_keep_waiting_for_a_lock(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    """The server looks whether the client is there; it would not notice before it has the lock."""
    # Its statements may wait for longer than the test does.
    aggregator = run_aggregator(
        *own_database.arguments(), "--postgres-command-timeout-ms", "600000"
    )
    told = Told()
    async with session() as client, held(own_database.dsn, Place.LOCK_TOPICS) as holder:
        publishing = asyncio.create_task(
            publish(client, aggregator.url, batch_of("orders", ["e-1"]), told)
        )
        await holder.stopped()
        aggregator.kill()
        assert await publishing == 0
        await holder.until_nobody_waits()

"""The consumers of the benchmark's peers take everything once, and other counts are no figure."""

import sys
from pathlib import Path

import asyncpg
import pytest
from support.backends import PostgresServer

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks import (
    child,
    consumers,
    effects,
    peer_jetstream,
    peer_jetstream_reading,
    peer_redis,
    peer_skip_locked,
)
from benchmarks.consuming import Tally
from benchmarks.databases import MakeDatabase, postgres_databases, sqlite_file
from benchmarks.filled_log import filled
from benchmarks.measuring import WrongCounts
from benchmarks.rounds import Setting
from benchmarks.serving import aggregator
from benchmarks.stored_topic import TOPIC, WORKLOAD
from benchmarks.subscription_calls import check, make
from benchmarks.workload import Row, batches

EVENTS = 1_050
"""More than ten batches, and half of one."""


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> MakeDatabase:
    return postgres_databases(postgres_server.dsn)


def rows() -> list[Row]:
    return [row for batch in batches(WORKLOAD, EVENTS) for row in batch.rows]


@pytest.mark.parametrize("how", ["delete", "status"])
async def test_a_queue_is_emptied_and_each_event_has_one_effect(
    how: str, postgres: MakeDatabase
) -> None:
    async with postgres() as database:
        await peer_skip_locked.fill(database.location, rows(), how)
        await effects.make_table(database.location)
        arguments = (database.location, EVENTS, 2, how, "effects")
        assert (await child.run("peer_skip_locked", *arguments))["seconds"] > 0
        await effects.check(database.location, EVENTS)


@pytest.mark.parametrize("client", ["lease_client", "library_client"])
async def test_a_subscription_is_taken_and_each_event_has_one_effect(
    client: str, postgres: MakeDatabase
) -> None:
    async with filled(sqlite_file, EVENTS) as log, postgres() as database:
        await effects.make_table(database.location)
        with aggregator(log.arguments) as server:
            await make(server.port, client, {"topics": [TOPIC], "from": "start", "order": "none"})
            taken = await child.run(client, server.port, client, EVENTS, 2, database.location)
            assert taken["seconds"] > 0
            await check(server.port, client, EVENTS)
        await effects.check(database.location, EVENTS)


@pytest.mark.parametrize("how", ["ack", "double"])
async def test_jetstream_consumers_acknowledge_every_message(how: str) -> None:
    if why := peer_jetstream.missing():
        pytest.skip(why)
    with peer_jetstream.server(sync=False) as url:
        await peer_jetstream_reading.fill(url, rows())
        taken = await child.run("peer_jetstream_settling", url, EVENTS, 2, how, "")
        assert len(taken["cycles_s"]) == 11


async def test_redis_consumers_acknowledge_every_entry() -> None:
    if why := peer_redis.missing():
        pytest.skip(why)
    with peer_redis.server() as url:
        await peer_redis.fill(url, rows())
        taken = await child.run("peer_redis_consuming", url, EVENTS, 2, "")
        assert len(taken["cycles_s"]) == 11


async def test_other_effects_than_one_an_event_are_no_figure(postgres: MakeDatabase) -> None:
    async with postgres() as database:
        await effects.make_table(database.location)
        connection = await asyncpg.connect(database.location)
        await effects.write(connection, [{"number": 1, "text": ""}] * 2)
        await connection.close()
        with pytest.raises(WrongCounts, match=r"2 effects of 1 different events, not of 2"):
            await effects.check(database.location, 2)


def test_what_came_twice_or_not_at_all_ends_a_client() -> None:
    tally = Tally(3)
    assert (tally.ask(), tally.ask()) == (3, 0)
    tally.took(3, [7, 8], 0.0)
    assert tally.ask() == 1
    tally.took(1, [8], 0.0)
    with pytest.raises(SystemExit, match="of 3 events 2 came, 3 times in all"):
        tally.check()


@pytest.mark.long
async def test_consumers_are_measured_in_every_way(
    postgres: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "BACKENDS", ("SQLite",))
    monkeypatch.setattr(peer_jetstream, "missing", lambda: "it is not wanted here")
    part = await consumers.measure(Setting(1, 2 * EVENTS, 0, postgres, lambda _: None))
    assert all("JetStream" in name or "Redis" in name for name in part.missing)
    for name, over in part.beside:
        wanted = [] if over in part.missing else [True]
        assert [ratio > 0 for ratio in part.ratios(name, over)] == wanted, name
    once = [name for name in part.measurements if "(once)" in name]
    assert all("library" in name or "SKIP LOCKED" in name for name in once)
    assert len(once) == 6

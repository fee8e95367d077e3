"""The benchmark's consumers settle what is counted, and a run with other counts is no figure."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from support.backends import PostgresServer
from support.streams import listening

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks import child, peer_jetstream, peer_jetstream_reading, subscriptions
from benchmarks.client_result import NotServed
from benchmarks.databases import postgres_databases, sqlite_file
from benchmarks.filled_log import filled
from benchmarks.measuring import Sent, WrongCounts
from benchmarks.rounds import Setting
from benchmarks.serving import aggregator
from benchmarks.standard import BATCHES
from benchmarks.stored_topic import TOPIC, WORKLOAD
from benchmarks.subscription_calls import check, make
from benchmarks.subscription_consuming import Consumed
from benchmarks.subscription_following import Following
from benchmarks.targets import TARGETS, reach
from benchmarks.workload import batches

EVENTS = 2_500
"""More than an append of the filled log."""

FROM_START = {"topics": [TOPIC], "from": "start"}


async def test_consumers_in_every_way_settle_what_a_log_holds() -> None:
    async with filled(sqlite_file, EVENTS) as database:
        one = Consumed(database, EVENTS, FROM_START)
        await one.consume(1_050, 100, how="turns")
        measured = await one.consume(EVENTS - 1_050, 100)
        assert measured.events_s > 0
        assert measured.p50_ms is not None
        many = Consumed(database, EVENTS, FROM_START | {"order": "none"})
        assert (await many.consume(EVENTS, 100, consumers=3, how="ahead")).events_s > 0


@pytest.mark.long
@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_a_filled_log_is_one_that_verify_agrees_with(
    backend: str, postgres_server: PostgresServer
) -> None:
    makes = {"sqlite": sqlite_file, "postgres": postgres_databases(postgres_server.dsn)}
    async with filled(makes[backend], EVENTS) as database:
        verified = subprocess.run(  # noqa: ASYNC221 - nothing else goes on
            [sys.executable, "-m", "aggregator", "verify", *database.arguments],
            capture_output=True,
            text=True,
            check=False,
        )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert f"{EVENTS:,} rows in 1 topic recounted" in verified.stdout


@pytest.mark.long
async def test_publishing_is_followed_to_the_last_event() -> None:
    following = Following(sqlite_file, Sent.make(BATCHES, 1_000))
    with pytest.raises(RuntimeError, match="nothing was published"):
        await following.settled()
    published = await following.publish()
    settled = await following.settled()
    assert 0 < settled.events_s <= published.events_s


async def test_other_counts_than_those_settled_are_no_figure() -> None:
    async with sqlite_file() as database:
        with aggregator(database.arguments) as server:
            await make(server.port, "counted", FROM_START)
            await check(server.port, "counted", 0)
            with pytest.raises(WrongCounts, match="1 were acknowledged and 0 are left"):
                await check(server.port, "counted", 1)
            with pytest.raises(WrongCounts, match="subscription missing was answered 404"):
                await check(server.port, "missing", 0)
            with pytest.raises(WrongCounts, match="was not made: 422"):
                await make(server.port, "unmade", {"topics": []})


async def test_a_server_without_subscriptions_serves_none() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
        await reader.read()

    async with listening(talk) as port:
        with pytest.raises(NotServed, match="knows no subscriptions"):
            await make(port, "any", FROM_START)


async def test_a_jetstream_consumer_acknowledges_every_message() -> None:
    if why := peer_jetstream.missing():
        pytest.skip(why)
    rows = [row for batch in batches(WORKLOAD, 1_050) for row in batch.rows]
    with peer_jetstream.server(sync=False) as url:
        await peer_jetstream_reading.fill(url, rows)
        for fetch in (100, 1_000):
            taken = await child.run("peer_jetstream_consuming", url, 1_050, fetch)
            assert taken["seconds"] > 0


@pytest.mark.long
async def test_subscriptions_are_measured_in_every_way(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "BACKENDS", ("SQLite",))
    monkeypatch.setattr(peer_jetstream, "missing", lambda: "it is not wanted here")
    postgres = postgres_databases(postgres_server.dsn)
    part = await subscriptions.measure(Setting(1, 4_000, 2_000, postgres, lambda _: None))
    assert set(part.missing) == {*map(subscriptions.peer, (100, 1_000)), subscriptions.BEST_PEER}
    for name, over in part.beside:
        wanted = [] if over == subscriptions.BEST_PEER else [True]
        assert [ratio > 0 for ratio in part.ratios(name, over)] == wanted, name
    targets = [each for each in TARGETS if each.part == "subscriptions" and "SQLite" in each.of]
    missing = {
        each.target.of for each in reach({"subscriptions": part}, targets) if not each.ratios
    }
    # Those beside the peer, and in the middle of a log of another size.
    assert len(targets) == 7
    assert len(missing) == 4

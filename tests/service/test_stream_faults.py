"""Streams under faults: whoever reads comes back, and has every event once and in order."""

import asyncio
import itertools
from collections.abc import Callable
from functools import partial

import aiohttp
import pytest
from service.conftest import OwnDatabase
from support.backends import Database
from support.following import Address, FollowingReader, all_following
from support.going_on import TOPICS, Load, check_all
from support.load import (
    Told,
    batch_of,
    check_kept,
    publish,
    read_log,
    session,
    until,
    until_answer,
    until_ready,
)
from support.processes import Aggregator

Run = Callable[..., Aggregator]

FIRST, SECOND = TOPICS


def readers() -> list[FollowingReader]:
    """A reader of each kind, each from the start."""
    start = {"from": "start"}
    return [
        FollowingReader(["**"], begin=start),
        FollowingReader([FIRST, "*", "none.*"], begin=start),
        FollowingReader([SECOND], begin=start),
        FollowingReader([FIRST], begin=start, lines=True),
    ]


def was_given(reader: FollowingReader, topic: str, last: int) -> bool:
    """Whether a reader was given the last event of a topic."""
    return reader.offsets(topic)[-1:] == [last]


async def check_given(
    client: aiohttp.ClientSession, url: str, following: list[FollowingReader]
) -> None:
    """Return once readers were given what is stored, each event once and in order."""
    for topic in TOPICS:
        stored = await read_log(client, url, topic)
        for reader in following:
            if topic in reader.wanted or "*" in reader.wanted or "**" in reader.wanted:
                await until(partial(was_given, reader, topic, len(stored)))
                assert reader.events[topic] == stored, (reader.wanted, topic)


class GoingOn:
    """Publishers that go on through whatever happens to the aggregator, until they are stopped."""

    def __init__(self, client: aiohttp.ClientSession, address: Address, told: Told) -> None:
        self._client, self._address, self._told = client, address, told
        self._stopped = False
        self._tasks = [asyncio.create_task(self._publish(number)) for number in range(4)]

    async def _publish(self, publisher: int) -> None:
        for number in itertools.count():
            batch = batch_of(TOPICS[publisher % 2], [f"{publisher}-{number}-{n}" for n in range(3)])
            status = 0
            while status != 200:
                status = await publish(self._client, self._address.now, batch, self._told)
                await asyncio.sleep(0.002 if status == 200 else 0.02)
            if self._stopped:
                return

    async def until_more_is_acknowledged(self) -> None:
        enough = self._told.requests + 40
        await until(lambda: self._told.requests >= enough)

    async def stop(self) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)


async def test_an_aggregator_that_is_killed_and_started_again_costs_readers_nothing(
    run_aggregator: Run, database: Database
) -> None:
    aggregator = run_aggregator(*database.arguments())
    address, told, following = Address(aggregator.url), Told(), readers()
    async with session() as client, all_following(following, client, address):
        publishers = GoingOn(client, address, told)
        for _ in range(2):
            await publishers.until_more_is_acknowledged()
            await asyncio.to_thread(aggregator.kill)
            aggregator = await asyncio.to_thread(run_aggregator, *database.arguments())
            address.now = aggregator.url
        await publishers.until_more_is_acknowledged()
        await publishers.stop()
        await check_kept(client, address.now, told, TOPICS)
        await check_given(client, address.now, following)
    assert all(reader.answers == 3 for reader in following)


async def test_streams_stay_open_while_postgres_is_lost_and_go_on_when_it_is_back(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    address, told, following = Address(aggregator.url), Told(), readers()
    late = FollowingReader(["*"], begin={"from": "start"})
    async with session() as client, all_following(following, client, address):
        load = Load(client, address.now, told)
        await load.until_more_is_acknowledged()
        await asyncio.to_thread(own_database.server.crash)
        await load.until_more_is_refused()
        await until_answer(client, f"{address.now}/ready", 503, "Postgres")
        async with all_following([late], client, address):
            await until(lambda: late.unavailable > 0)
            await asyncio.to_thread(own_database.server.start)
            await load.until_more_is_acknowledged()
            await load.stop()
            await until_ready(client, address.now)
            await check_all(client, address.now, told)
            await check_given(client, address.now, [*following, late])
    assert [reader.answers for reader in following] == [1] * len(following)
    assert b"Traceback" not in aggregator.written()


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_at_the_signal_streams_end_between_two_events_and_go_on_elsewhere(
    run_aggregator: Run, database: Database
) -> None:
    ending, other = (run_aggregator(*database.arguments()) for _ in range(2))
    told, following = Told(), readers()
    async with session() as client:
        publishers = GoingOn(client, Address(other.url), told)
        async with asyncio.TaskGroup() as group:
            for reader in following:
                assert await reader.open(client, ending.url) == 200
                # An answer that is cut off, without its last chunk, raises.
                group.create_task(read_to_the_end(reader))
            await until(lambda: all(reader.count >= 20 for reader in following))
            assert await asyncio.to_thread(ending.stop) == 0
        with pytest.raises(aiohttp.ClientConnectionError):
            await following[0].open(client, ending.url)
        async with all_following(following, client, Address(other.url)):
            await publishers.until_more_is_acknowledged()
            await publishers.stop()
            await check_given(client, other.url, following)
    ends = [line["ended_by"] for line in ending.log_lines("request") if "ended_by" in line]
    assert ends == ["shutdown"] * len(following)


async def read_to_the_end(reader: FollowingReader) -> None:
    while await reader.next() is not None:
        pass

"""The disk under Postgres: full, wholly or for one file, and damaged."""

import asyncio
import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from service.conftest import OwnDatabase
from support.events import published
from support.going_on import Load, check_all, check_log, refusal
from support.held import held
from support.load import (
    Batch,
    Told,
    batch_of,
    check_kept,
    get_json,
    publish,
    publish_until_taken,
    session,
    until_answer,
    until_ready,
)
from support.processes import Aggregator

Run = Callable[..., Aggregator]

ROOM_BYTES = 2**21 + 4096
"""More than a segment of the write-ahead log, and not a whole number of blocks."""

BLOCK_BYTES = 8192

FULL = Path("/dev/full")
"""Every write to it fails as on a disk that is full."""


async def refusal_by_storage(
    client: aiohttp.ClientSession, url: str, batch: Batch, told: Told
) -> str:
    """As `refusal`, once the aggregator takes events again."""
    await until_ready(client, url)
    return await refusal(client, url, batch, told)


def put_in_place(file: Path, target: Path | None) -> None:
    """Let an empty file be a link, or an empty file again."""
    owner = file.parent.stat()
    file.unlink()
    if target is None:
        file.touch(mode=0o600)
        os.chown(file, owner.st_uid, owner.st_gid)
    else:
        file.symlink_to(target)


class Large:
    """Batches with payloads that the server can't compress, so that files grow."""

    def __init__(self) -> None:
        self._chance = random.Random(3)
        self._numbers = itertools.count()

    def batch(self) -> Batch:
        """The next batch, of some 200 kB."""
        return [
            published(
                event_id=f"large-{next(self._numbers)}",
                payload={"": self._chance.randbytes(20_000).hex()},
            )
            for _ in range(5)
        ]


async def test_a_full_disk_stores_nothing_and_passes_when_there_is_room(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    url, told, server, large = aggregator.url, Told(), own_database.server, Large().batch()
    async with session() as client:
        async with held(own_database.dsn) as holder:
            file = server.data / await holder.connection.fetchval(
                "SELECT pg_relation_filepath(reltoastrelid) FROM pg_class WHERE relname = 'events'"
            )
        # Nothing is in it yet, and now nothing can be: the kernel says that there is no room.
        await asyncio.to_thread(server.restart_with, lambda: put_in_place(file, FULL))
        await publish_until_taken(client, url, batch_of("orders", ["e-1"]), told)
        for _ in range(3):
            sentence = await refusal_by_storage(client, url, large, told)
            assert "Postgres: could not extend file" in sentence
            assert "No space left on device" in sentence
            # What needs no room there goes on.
            await publish_until_taken(client, url, batch_of("orders", ["e-1"]), told)
        kept, stats = await check_kept(client, url, told, ["orders"])
        assert (len(kept), stats["received"]) == (1, 4)
        await asyncio.to_thread(server.restart_with, lambda: put_in_place(file, None))
        await publish_until_taken(client, url, large, told)
        kept, stats = await check_kept(client, url, told, ["orders"])
    assert (len(kept), stats["received"]) == (6, 9)
    check_log(aggregator)


async def test_a_file_that_may_not_grow_stores_nothing_and_passes_when_it_may(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    url, told, server, large = aggregator.url, Told(), own_database.server, Large()
    async with session() as client:
        assert await publish(client, url, large.batch(), told) == 200
        await asyncio.to_thread(server.limit_files, ROOM_BYTES)
        while await publish(client, url, too_much := large.batch(), told) == 200:
            pass
        await until_ready(client, url)
        _, before = await check_kept(client, url, told, ["orders"])
        assert before["received"] == told.received
        sentence = await refusal(client, url, too_much, told)
        assert "Postgres: could not extend file" in sentence
        await asyncio.to_thread(server.limit_files)
        await publish_until_taken(client, url, too_much, told)
        _, stats = await check_kept(client, url, told, ["orders"])
    assert stats["received"] == told.received
    assert stats["duplicate_dropped"] == 0
    check_log(aggregator)


async def write_for_ever(connection: asyncpg.Connection) -> None:
    """Fill the write-ahead log."""
    while True:
        await connection.execute("SELECT pg_logical_emit_message(true, '', repeat('x', 100000))")


async def test_no_room_for_the_write_ahead_log_ends_postgres_and_loses_nothing(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    told, server = Told(), own_database.server
    async with session() as client, held(own_database.dsn) as stranger:
        load = Load(client, aggregator.url, told)
        await load.until_more_is_acknowledged()
        # Less than a segment of it.
        await asyncio.to_thread(server.limit_files, 2**19 + 4096)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await write_for_ever(stranger.connection)
        await load.until_more_is_refused()
        await asyncio.to_thread(server.crash)
        assert b"PANIC:  could not write" in server.log.read_bytes()
        # Not started again before the aggregator has found nobody there.
        await until_answer(client, f"{aggregator.url}/ready", 503, "out of reach")
        await asyncio.to_thread(server.start)
        await load.until_more_is_acknowledged()
        await load.stop()
        await until_ready(client, aggregator.url)
        await check_all(client, aggregator.url, told)
    check_log(aggregator)


def overwrite(path: Path, block: bytes) -> bytes:
    """Overwrite the first block of a relation; returns what was there."""
    with path.open("r+b") as file:
        before = file.read(len(block))
        file.seek(0)
        file.write(block)
    return before


async def test_a_damaged_page_refuses_who_needs_it_and_nobody_else(
    run_aggregator: Run, own_database: OwnDatabase
) -> None:
    aggregator = run_aggregator(*own_database.arguments())
    url, told, server = aggregator.url, Told(), own_database.server
    async with session() as client:
        many = batch_of("orders", [f"e-{number}" for number in range(300)])
        assert await publish(client, url, many, told) == 200
        assert await publish(client, url, batch_of("visits", ["e-1"]), told) == 200
        async with held(own_database.dsn) as holder:
            relation = await holder.connection.fetchval("SELECT pg_relation_filepath('events')")
        path, garbage = server.data / relation, b"\xde\xad\xbe\xef" * (BLOCK_BYTES // 4)
        sound = await asyncio.to_thread(server.restart_with, lambda: overwrite(path, garbage))
        await until_answer(client, f"{url}/ready", 200, "")
        # Its first event is on the page, and has to be looked at.
        sentence = await refusal(client, url, batch_of("orders", ["e-0"]), told)
        assert "Postgres: invalid page in block 0" in sentence
        problem = await get_json(client, f"{url}/events/orders/e-0", status=503)
        assert "Postgres: invalid page in block 0" in problem["detail"]
        load = Load(client, url, told)
        for _ in range(10):
            await refusal(client, url, batch_of("orders", ["e-0"]), told)
        await load.until_more_is_acknowledged()
        await load.stop()
        # Who comes while it is found out that the others can be served is refused with it.
        assert told.refused.count(batch_of("orders", ["e-0"])) == 11
        await asyncio.to_thread(server.restart_with, lambda: overwrite(path, sound))
        await publish_until_taken(client, url, batch_of("orders", ["e-0"]), told)
        await check_all(client, url, told)
    check_log(aggregator)

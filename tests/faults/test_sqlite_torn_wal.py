"""A write-ahead log with half a write at its end, cut off, or with bytes turned over.

Half a write is what a crash leaves, and costs nothing that was acknowledged. The rest is damage
to what was flushed to disk: whatever lies behind it is lost, which nobody promises to prevent.
It must be just that: the last transactions, each as a whole, and a log that is sound.
"""

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support.backends import Database
from support.going_on import Load
from support.in_process import InProcessStore
from support.load import Told, batch_of, publish, session
from support.observer import Observer, Snapshot
from support.processes import Aggregator
from support.sqlite_pages import commit_ends
from support.sqlite_process import arguments, companions

Run = Callable[..., Aggregator]
CASES = 25


class Crashed(NamedTuple):
    """What a kill under load left behind, and what the publishers knew."""

    database: bytes
    wal: bytes
    told: Told


@pytest.fixture
async def crashed(run_aggregator: Run, tmp_path: Path) -> Crashed:
    path = tmp_path / "log.db"
    aggregator = run_aggregator(*arguments(path))
    told = Told()
    async with session() as client:
        load = Load(client, aggregator.url, told)
        await load.until(lambda: told.requests >= 40)
        aggregator.kill()
        # Each ends with the request that got no answer.
        await asyncio.gather(*load._tasks, return_exceptions=True)
    return found(path, told)


def found(path: Path, told: Told) -> Crashed:
    """The files, which nobody has open."""
    return Crashed(path.read_bytes(), companions(path)[0].read_bytes(), told)


async def recovered(crashed: Crashed, wal: bytes, directory: Path) -> Snapshot:
    """What a store makes of the database with this -wal file."""
    path = lay_out(crashed.database, wal, directory)
    store = InProcessStore(path)
    await store.open()
    await store.aclose()
    async with Observer.on(Database("sqlite", path, "")) as observer:
        (ok,) = await observer.fetch("PRAGMA integrity_check")
        assert ok == ("ok",)
        snapshot = await observer.snapshot()
    shutil.rmtree(directory)
    return snapshot


def lay_out(database: bytes, wal: bytes, directory: Path) -> Path:
    """Write the files anew."""
    directory.mkdir()
    path = directory / "log.db"
    path.write_bytes(database)
    companions(path)[0].write_bytes(wal)
    return path


def assert_whole_requests(snapshot: Snapshot, told: Told) -> None:
    """Sound, and of each request all that only it can have stored, or none."""
    snapshot.assert_sound()
    stored = {(row.topic, row.event_id): row.offset for row in snapshot.rows}
    for key, offset in told.offsets.items():
        assert stored.get(key, offset) == offset
    for topic, (received, *_) in snapshot.counts.items():
        assert received % 6 == 0, f"{topic}: a request of six events is counted in part"


async def test_half_a_write_behind_the_end_costs_nothing_that_was_acknowledged(
    crashed: Crashed, tmp_path: Path
) -> None:
    whole = await recovered(crashed, crashed.wal, tmp_path / "whole")
    stored = {(row.topic, row.event_id): row.offset for row in whole.rows}
    assert crashed.told.offsets.items() <= stored.items()
    assert_whole_requests(whole, crashed.told)
    end = commit_ends(crashed.wal)[-1]
    first_frame = crashed.wal[32 : 32 + 24 + 4096]
    last_frame = crashed.wal[end - 24 - 4096 : end]
    chance = random.Random(1)
    tails = [
        b"\0",
        bytes(100_000),
        chance.randbytes(50_000),
        first_frame,
        last_frame,
        last_frame[:5000],
        last_frame[:24] + chance.randbytes(4096),
        first_frame * 3 + last_frame,
    ]
    for number, tail in enumerate(tails):
        torn = await recovered(crashed, crashed.wal[:end] + tail, tmp_path / f"tail-{number}")
        assert torn == whole, f"tail {number}"


async def test_cut_off_anywhere_exactly_the_last_transactions_are_missing(
    crashed: Crashed, tmp_path: Path
) -> None:
    ends = commit_ends(crashed.wal)
    chance = random.Random(2)
    for number in range(CASES):
        at = chance.randrange(len(crashed.wal))
        await assert_all_before(crashed, crashed.wal[:at], ends, at, tmp_path / f"cut-{number}")


async def test_with_bytes_turned_over_exactly_the_transactions_from_there_on_are_missing(
    crashed: Crashed, tmp_path: Path
) -> None:
    ends = commit_ends(crashed.wal)
    chance = random.Random(3)
    for number in range(CASES):
        at = chance.randrange(ends[-1])
        flipped = bytearray(crashed.wal)
        flipped[at] ^= 1 << chance.randrange(8)
        await assert_all_before(crashed, bytes(flipped), ends, at, tmp_path / f"flip-{number}")


async def assert_all_before(
    crashed: Crashed, wal: bytes, ends: list[int], at: int, directory: Path
) -> None:
    """With this -wal file there is what was committed before byte `at`, and nothing else."""
    end = max([end for end in ends if end <= at], default=0)
    snapshot = await recovered(crashed, wal, directory)
    assert_whole_requests(snapshot, crashed.told)
    assert snapshot == await recovered(crashed, crashed.wal[:end], directory), f"at byte {at}"


async def test_a_process_that_starts_on_a_log_cut_short_goes_on_from_there(
    crashed: Crashed, run_aggregator: Run, tmp_path: Path
) -> None:
    half = commit_ends(crashed.wal)[len(commit_ends(crashed.wal)) // 2]
    path = lay_out(crashed.database, crashed.wal[: half + 1000], tmp_path / "half")
    aggregator = run_aggregator(*arguments(path))
    told = Told()
    async with session() as client:
        # What was lost may be sent again, and is taken for what it is: new.
        for topic in ("orders", "visits"):
            again = [key for key in crashed.told.offsets if key[0] == topic]
            batch = batch_of(topic, [event_id for _, event_id in again])
            assert await publish(client, aggregator.url, batch, told) == 200
    assert aggregator.stop() == 0
    assert told.offsets.keys() == crashed.told.offsets.keys()
    async with Observer.on(Database("sqlite", path, "")) as observer:
        (await observer.snapshot()).assert_sound()

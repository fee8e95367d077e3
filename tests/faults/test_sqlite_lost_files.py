"""Files of the database that are deleted, moved, replaced or overwritten under the process."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from support.going_on import TOPICS, Load, check_all
from support.load import (
    Told,
    batch_of,
    check_kept,
    get_json,
    publish,
    session,
    until_answer,
    until_ready,
)
from support.processes import Aggregator
from support.sqlite_process import (
    arguments,
    assert_intact,
    companions,
    moved,
    refusal,
    removed,
    size,
    stranger,
)

Run = Callable[..., Aggregator]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def content(path: Path) -> bytes | None:
    """All of it; None if it is not there."""
    return path.read_bytes() if path.exists() else None


def overwrite(path: Path, content: bytes) -> None:
    """As `cp` and a shell's `>` do it: the file stays the same, what is in it does not."""
    path.write_bytes(content)


async def some_log(run_aggregator: Run, path: Path) -> Told:
    """A database of another life of the aggregator, closed in order."""
    aggregator = run_aggregator(*arguments(path))
    told = Told()
    async with session() as client:
        assert await publish(client, aggregator.url, batch_of("orders", ["a", "b"]), told) == 200
    assert aggregator.stop() == 0
    return told


async def test_a_deleted_database_is_noticed_and_nothing_more_is_acknowledged(
    run_aggregator: Run, path: Path, tmp_path: Path
) -> None:
    aggregator = run_aggregator(*arguments(path))
    url, told = aggregator.url, Told()
    async with session() as client:
        load = Load(client, url, told)
        await load.until_more_is_acknowledged()
        removed(path)
        acknowledged = told.requests
        await load.until_more_is_refused()
        detail = await until_answer(client, f"{url}/ready", 503, "deleted or replaced")
        assert str(path) in detail
        # As many as were on their way between the deletion and the first look.
        assert told.requests <= acknowledged + 6
        for reading in ("stats", "events?topic=orders&after=0", "events/orders/0-0"):
            problem = await get_json(client, f"{url}/{reading}", status=503)
            assert "deleted or replaced" in problem["detail"]
        await load.stop()
    assert aggregator.stop() == 0
    assert b"Traceback" not in aggregator.written()
    # What was stored last is in the -wal, and SQLite would throw that away.
    assert content(path) is None
    assert "put the file back, or remove" in refusal(path, tmp_path / "again.log")
    removed(*companions(path))
    again = run_aggregator(*arguments(path))
    async with session() as client:
        assert (await get_json(client, f"{again.url}/stats"))["received"] == 0


async def test_a_database_that_is_moved_away_and_back_is_used_again(
    run_aggregator: Run, path: Path, tmp_path: Path
) -> None:
    aggregator = run_aggregator(*arguments(path))
    told, elsewhere = Told(), tmp_path / "elsewhere.db"
    async with session() as client:
        load = Load(client, aggregator.url, told)
        for name in (path, *companions(path), path):
            await load.until_more_is_acknowledged()
            moved(name, elsewhere)
            await load.until_more_is_refused()
            await until_answer(client, f"{aggregator.url}/ready", 503, "deleted or replaced")
            moved(elsewhere, name)
            await load.until_more_is_acknowledged()
        await load.stop()
        await until_ready(client, aggregator.url)
        await check_all(client, aggregator.url, told)
    assert b"Traceback" not in aggregator.written()
    assert aggregator.stop() == 0
    assert_intact(path)


async def test_moved_away_while_the_aggregator_is_down_what_was_stored_last_is_kept(
    run_aggregator: Run, path: Path, tmp_path: Path
) -> None:
    aggregator = run_aggregator(*arguments(path))
    told, elsewhere = Told(), tmp_path / "elsewhere.db"
    async with session() as client:
        assert await publish(client, aggregator.url, batch_of("orders", ["a"]), told) == 200
    aggregator.kill()
    assert size(companions(path)[0])
    moved(path, elsewhere)
    assert "put the file back, or remove" in refusal(path, tmp_path / "refused.log")
    moved(elsewhere, path)
    again = run_aggregator(*arguments(path))
    async with session() as client:
        await check_kept(client, again.url, told, ["orders"])


async def test_another_database_in_its_place_is_neither_written_nor_read(
    run_aggregator: Run, path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    told_by_other = await some_log(run_aggregator, other)
    aggregator = run_aggregator(*arguments(path))
    told = Told()
    async with session() as client:
        load = Load(client, aggregator.url, told)
        await load.until_more_is_acknowledged()
        before = content(other)
        moved(other, path)
        await load.until_more_is_refused()
        detail = await until_answer(client, f"{aggregator.url}/ready", 503, "replaced while in use")
        assert all(str(name) in detail for name in companions(path))
        await get_json(client, f"{aggregator.url}/stats", status=503)
        await load.stop()
    assert aggregator.stop() == 0
    assert b"Traceback" not in aggregator.written()
    assert content(path) == before
    # As the sentence says.
    removed(*companions(path))
    again = run_aggregator(*arguments(path))
    async with session() as client:
        stored, _ = await check_kept(client, again.url, told_by_other, TOPICS)
    assert len(stored) == 2


async def test_a_deleted_write_ahead_log_costs_nothing_that_was_acknowledged(
    run_aggregator: Run, path: Path
) -> None:
    aggregator = run_aggregator(*arguments(path))
    url, told = aggregator.url, Told()
    async with session() as client:
        load = Load(client, url, told)
        await load.until_more_is_acknowledged()
        removed(companions(path)[0])
        await load.until_more_is_refused()
        await until_answer(client, f"{url}/ready", 503, "stop the aggregator and start it again")
        await load.stop()
    assert b"Traceback" not in aggregator.written()
    # Not even an orderly end is needed: it was moved into the database at once.
    aggregator.kill()
    again = run_aggregator(*arguments(path))
    async with session() as client:
        await check_all(client, again.url, told)
    assert again.stop() == 0
    assert_intact(path)


async def test_with_a_deleted_shm_no_lock_is_shared_so_nothing_is_written(
    run_aggregator: Run, path: Path
) -> None:
    first = run_aggregator(*arguments(path))
    told = Told()
    async with session() as client:
        load = Load(client, first.url, told)
        await load.until_more_is_acknowledged()
        removed(companions(path)[1])
        # It makes one of its own; each would take every lock without asking the other.
        second = run_aggregator(*arguments(path))
        numbers = itertools.count()
        for _ in range(20):
            batch = batch_of("visits", [f"second-{next(numbers)}"])
            assert await publish(client, second.url, batch, told) == 200
        await load.until_more_is_refused()
        await until_answer(client, f"{first.url}/ready", 503, "-shm")
        await load.stop()
        # The first one's end takes nothing of the second one's away.
        assert second.stop() == 0
        assert first.stop() == 0
        again = run_aggregator(*arguments(path))
        await check_all(client, again.url, told)
    assert again.stop() == 0
    assert_intact(path)
    for aggregator in (first, second):
        assert b"Traceback" not in aggregator.written()


async def test_two_aggregators_around_a_deleted_write_ahead_log_do_each_other_no_harm(
    run_aggregator: Run, path: Path
) -> None:
    first = run_aggregator(*arguments(path))
    url, told = first.url, Told()
    async with session() as client:
        assert await publish(client, url, batch_of("orders", ["a", "b"]), told) == 200
        removed(companions(path)[0])
        assert await publish(client, url, batch_of("orders", ["c"]), told) == 503
        await until_answer(client, f"{url}/ready", 503, "-wal")
        second = run_aggregator(*arguments(path))
        for number in range(20):
            batch = batch_of("visits", [f"second-{number}"])
            assert await publish(client, second.url, batch, told) == 200
        assert await publish(client, url, batch_of("orders", ["d"]), told) == 503
        await get_json(client, f"{url}/stats", status=503)
        assert second.stop() == 0
        assert first.stop() == 0
        again = run_aggregator(*arguments(path))
        await check_kept(client, again.url, told, TOPICS)
    assert again.stop() == 0
    assert_intact(path)


@pytest.mark.parametrize("with_another", [False, True])
async def test_a_database_that_is_cut_short_or_overwritten_is_not_written_to(
    run_aggregator: Run, path: Path, tmp_path: Path, with_another: bool
) -> None:
    other = tmp_path / "other.db"
    await some_log(run_aggregator, other)
    written = (content(other) or b"") if with_another else b""
    aggregator = run_aggregator(*arguments(path))
    told = Told()
    async with session() as client:
        # Large enough to be more than the other one.
        with_much = batch_of("orders", [f"e-{n}" for n in range(2000)])
        assert await publish(client, aggregator.url, with_much, told) == 200
        with stranger(path, "PRAGMA wal_checkpoint"):
            pass
        load = Load(client, aggregator.url, told)
        await load.until_more_is_acknowledged()
        overwrite(path, written)
        await load.until_more_is_refused()
        await until_answer(client, f"{aggregator.url}/ready", 503, "cut short or overwritten")
        await load.stop()
    assert aggregator.stop() == 0
    assert b"Traceback" not in aggregator.written()
    assert content(path) == written, "what somebody put there stays as it is"


async def test_a_shm_cut_short_ends_the_process_that_writes_and_costs_nothing_acknowledged(
    run_aggregator: Run, path: Path
) -> None:
    aggregator = run_aggregator(*arguments(path))
    told = Told()
    async with session() as client:
        load = Load(client, aggregator.url, told)
        await load.until_more_is_acknowledged()
        (_, writes) = aggregator.processes()
        # It is memory that is no longer there; nothing in that process can answer for it.
        overwrite(companions(path)[1], b"")
        await load.until_more_is_refused()
        await load.until_more_is_acknowledged()
        assert not writes.is_running()
        await load.stop()
        await check_all(client, aggregator.url, told)
    assert aggregator.stop() == 0
    assert_intact(path)


async def test_a_database_is_given_up_while_nobody_publishes(
    run_aggregator: Run, path: Path, tmp_path: Path
) -> None:
    aggregator = run_aggregator(*arguments(path))
    async with session() as client:
        moved(path, tmp_path / "elsewhere.db")
        problem = await get_json(client, f"{aggregator.url}/ready", status=503)
        assert "deleted or replaced" in problem["detail"]
        moved(tmp_path / "elsewhere.db", path)
        await until_ready(client, aggregator.url)
    await asyncio.to_thread(aggregator.stop)

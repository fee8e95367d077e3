"""No room: for the write-ahead log, for the database, on the file system, for a descriptor."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from support.events import published
from support.following import Address, FollowingReader, all_following
from support.going_on import Load, check_all
from support.load import (
    Told,
    check_kept,
    publish,
    publish_until_taken,
    read_log,
    session,
    until_answer,
    until_ready,
)
from support.processes import Aggregator, wait_for
from support.sqlite_process import (
    NOT_ALLOWED,
    arguments,
    assert_intact,
    companions,
    descriptors,
    inside,
    private_mount,
    removed,
    size,
)
from support.stores import until

Run = Callable[..., Aggregator]
MB = 2**20


def limit_files(aggregator: Aggregator, size_bytes: int) -> None:
    """Let no file of the running process grow past this; -1 takes the limit away.

    Python ignores the signal that goes with it, so a write past it fails with EFBIG.
    """
    for process in aggregator.processes():
        hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size_bytes, hard))


def large(number: int) -> list[dict[str, object]]:
    """An event of almost 1 MB."""
    return [published(event_id=f"large-{number}", payload={"x": "y" * (MB - 1000)})]


async def test_a_write_ahead_log_that_cannot_grow_costs_503s_and_passes(
    run_aggregator: Run, tmp_path: Path
) -> None:
    path = tmp_path / "log.db"
    aggregator = run_aggregator(*arguments(path))
    url, told = aggregator.url, Told()
    async with session() as client:
        # Larger than the process's own log, for which the limit holds as well.
        for number in range(3):
            assert await publish(client, url, large(number), told) == 200
        load = Load(client, url, told)
        for _ in range(2):
            await load.until_more_is_acknowledged()
            # Not at a page's end: the last write is cut short, and the next one fails.
            limit_files(aggregator, size(companions(path)[0]) + 2_500)
            await load.until_more_is_refused()
            await until_answer(client, f"{url}/ready", 503, "disk I/O error")
            await load.until_more_is_refused()
            limit_files(aggregator, -1)
            await load.until_more_is_acknowledged()
        await load.stop()
        await until_ready(client, url)
        await check_all(client, url, told)
    assert len(aggregator.log_lines("storage_available")) == 3, "it was said to be back too early"
    assert b"Traceback" not in aggregator.written()
    assert aggregator.stop() == 0
    assert_intact(path)


async def test_a_database_file_that_cannot_grow_costs_nothing_until_the_log_is_full_too(
    run_aggregator: Run, tmp_path: Path
) -> None:
    path = tmp_path / "log.db"
    aggregator = run_aggregator(*arguments(path))
    url, told = aggregator.url, Told()
    async with session() as client:
        for number in range(40):
            assert await publish(client, url, large(number), told) == 200
        await until(lambda: size(path) > 40 * MB, "what is in the log is copied")
        before, log_full = size(path), size(companions(path)[0])
        limit_files(aggregator, max(before, log_full) + 4 * MB)
        statuses = [await publish(client, url, large(n), told) for n in range(40, 100)]
        assert size(path) <= max(before, log_full) + 4 * MB
        assert size(companions(path)[0]) > log_full + 2 * MB, "it grew, as nothing was copied"
        assert statuses.index(503) > 10
        limit_files(aggregator, -1)
        for batch in told.refused.copy():
            await publish_until_taken(client, url, batch, told)
        assert size(path) > before
        stored, _ = await check_kept(client, url, told, ["orders"])
    assert len(stored) == 100
    assert b"Traceback" not in aggregator.written()
    assert aggregator.stop() == 0
    assert_intact(path)


async def test_a_full_file_system_costs_503s_and_passes_when_there_is_room(tmp_path: Path) -> None:
    here = tmp_path / "mounted"
    here.mkdir()
    aggregator = Aggregator.spawn(
        arguments(Path("log.db")),
        log=tmp_path / "aggregator.log",
        cwd=here,
        program=private_mount(megabytes=4, spare=2),
    )
    told = Told()
    try:
        wait_for(lambda: aggregator.process.poll() is not None or aggregator.listening(), "it")
        if aggregator.process.poll() == NOT_ALLOWED:
            pytest.skip("file systems can't be mounted here; a limit on file sizes is tested")
        url = aggregator.url
        async with session() as client:
            load = Load(client, url, told)
            await load.until_more_is_acknowledged()
            filler = {"x": "y" * 100_000}
            while await publish(client, url, [published(payload=filler)], told) == 200:
                pass
            await load.until_more_is_refused()
            await until_answer(client, f"{url}/ready", 503, "full")
            removed(inside(aggregator, "ballast"))
            await load.until_more_is_acknowledged()
            await load.stop()
            await until_ready(client, url)
            await check_all(client, url, told)
        assert b"Traceback" not in aggregator.written()
    finally:
        aggregator.kill()


async def test_while_the_disk_is_full_streams_stay_open_and_go_on_when_there_is_room(
    run_aggregator: Run, tmp_path: Path
) -> None:
    path = tmp_path / "log.db"
    aggregator = run_aggregator(*arguments(path))
    url, told = aggregator.url, Told()
    following = [FollowingReader(["*"]), FollowingReader(["orders"], lines=True)]
    async with session() as client:
        # Larger than the process's own log, for which the limit holds as well.
        for number in range(3):
            assert await publish(client, url, large(number), told) == 200
        following[1].begin = {"after": 3}
        async with all_following(following, client, Address(url)):
            await until(lambda: all(reader.is_open for reader in following), "the streams")
            load = Load(client, url, told)
            await load.until_more_is_acknowledged()
            limit_files(aggregator, size(companions(path)[0]) + 2_500)
            await load.until_more_is_refused()
            limit_files(aggregator, -1)
            await load.until_more_is_acknowledged()
            await load.stop()
            await until_ready(client, url)
            await check_all(client, url, told)
            stored = (await read_log(client, url, "orders"))[3:]
            await until(
                lambda: all(reader.events["orders"] == stored for reader in following), "all of it"
            )
    assert [reader.answers for reader in following] == [1, 1]
    assert b"Traceback" not in aggregator.written()


async def test_a_batch_of_many_topics_needs_no_descriptor(
    run_aggregator: Run, tmp_path: Path
) -> None:
    aggregator = run_aggregator(*arguments(tmp_path / "log.db"))
    url, told = aggregator.url, Told()
    many = [published(topic=f"{n:0>100}", event_id=i) for n in range(1500) for i in "ab"]
    async with session() as client:
        # Over the connection that is there, since none can be made any more.
        assert await publish(client, url, many[::2], told) == 200
        pid = aggregator.process.pid
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors(aggregator), hard))
        assert await publish(client, url, many, told) == 200
    assert b"Traceback" not in aggregator.written()

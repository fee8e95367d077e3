"""Files and a directory that may not be written: under the process, and at its next start."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.going_on import Load, check_all
from support.load import Told, batch_of, publish, session, until_ready
from support.processes import Aggregator
from support.sqlite_process import (
    UNPRIVILEGED,
    arguments,
    companions,
    refusal,
    size,
    unprivileged_aggregator,
)

Run = Callable[..., Aggregator]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A database in a directory of its own, which can be cleared away afterwards."""
    directory = tmp_path / "database"
    directory.mkdir()
    yield directory / "log.db"
    directory.chmod(0o755)


def forbid_writing(*paths: Path) -> None:
    """Take away the right to write."""
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)


_TRIES = 20


async def leave_all_files(run_aggregator: Run, path: Path) -> Told:
    """A database with its -wal and -shm, as a crash leaves them."""
    aggregator = run_aggregator(*arguments(path))
    told = Told()
    async with session() as client:
        assert await publish(client, aggregator.url, batch_of("orders", ["a", "b"]), told) == 200
        for number in range(_TRIES):
            # A checkpoint empties the WAL, a second after a commit or sooner.
            batch = batch_of("orders", [f"c{number}"])
            assert await publish(client, aggregator.url, batch, told) == 200
            if all(size(name) for name in (path, *companions(path))):
                break
    aggregator.kill()
    assert all(size(name) for name in (path, *companions(path)))
    return told


async def test_what_is_open_is_written_whatever_becomes_of_its_mode(
    path: Path, tmp_path: Path
) -> None:
    told = Told()
    with unprivileged_aggregator(path, tmp_path / "aggregator.log") as aggregator:
        async with session() as client:
            load = Load(client, aggregator.url, told)
            await load.until_more_is_acknowledged()
            forbid_writing(path, *companions(path), path.parent)
            for _ in range(3):
                await load.until_more_is_acknowledged()
            await load.stop()
            await until_ready(client, aggregator.url)
            await check_all(client, aggregator.url, told)
        assert told.refused == []
        assert aggregator.stop() == 0
        assert b"Traceback" not in aggregator.written()


@pytest.mark.parametrize("name", ["log.db", "log.db-wal", "log.db-shm", "."])
async def test_started_on_what_may_not_be_written_it_says_so_and_costs_nothing(
    run_aggregator: Run, path: Path, tmp_path: Path, name: str
) -> None:
    told = await leave_all_files(run_aggregator, path)
    forbidden = path.parent / name
    forbid_writing(forbidden)
    if name == ".":
        # What a directory forbids is to make the files that are not there.
        for companion in companions(path):
            companion_is_gone(companion)
    sentence = refusal(path, tmp_path / "refused.log", UNPRIVILEGED)
    assert str(path) in sentence
    assert "must be allowed to write" in sentence
    forbidden.chmod(0o755)
    again = run_aggregator(*arguments(path))
    async with session() as client:
        if name != ".":
            await check_all(client, again.url, told)
    assert again.stop() == 0


def companion_is_gone(path: Path) -> None:
    """Remove it, past the directory's mode."""
    path.parent.chmod(0o755)
    path.unlink()
    path.parent.chmod(0o555)

"""The watch on files and directories, with inotify for real, and without."""

import asyncio
import os
import select
import sys
from collections.abc import Iterable
from pathlib import Path

import asyncinotify
import pytest

from publisher.ship.files import inotify, watch
from publisher.ship.files.watch import Changes, Watch

pytestmark = [
    pytest.mark.usefixtures("no_descriptor_is_left", "nothing_is_left_to_asyncio"),
    pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's"),
]

_LIMIT_S = 30.0


@pytest.fixture(autouse=True)
def _only_inotify_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing count as changed by time."""
    monkeypatch.setattr(watch, "_EVERYTHING_S", 10 * _LIMIT_S)


def append(path: Path, data: bytes = b"x\n") -> None:
    with path.open("ab") as file:
        file.write(data)


async def settled(it: Watch, directories: Iterable[Path], files: Iterable[Path]) -> None:
    """Watch these, and take what is told of them at first."""
    files = set(files)
    it.update(directories, files)
    assert await it.wait(_LIMIT_S) == Changes(names_changed=False, files=files)


async def told(it: Watch) -> Changes:
    changes = await it.wait(_LIMIT_S)
    assert changes.reason == ""
    return changes


def made(directory: Path, *names: str) -> list[Path]:
    paths = [directory / name for name in names]
    for path in paths:
        path.touch()
    return paths


async def test_new_files_count_as_changed_and_then_those_that_are_written(tmp_path: Path) -> None:
    a, b, c = made(tmp_path, "a", "b", "c")
    async with Watch() as it:
        await settled(it, [tmp_path], [a, b])
        append(a)
        assert await told(it) == Changes(names_changed=False, files={a})
        append(a)
        append(b)
        os.truncate(a, 0)
        append(c)
        assert await told(it) == Changes(names_changed=False, files={a, b})
        assert await it.wait(0) == Changes(names_changed=False, files=set())
        it.update([tmp_path], [b, c])
        append(a)
        assert await told(it) == Changes(names_changed=False, files={c})
        append(b)
        assert await told(it) == Changes(names_changed=False, files={b})


async def test_what_is_written_while_nobody_waits_is_told(tmp_path: Path) -> None:
    (a,) = made(tmp_path, "a")
    async with Watch() as it:
        await settled(it, [tmp_path], [a])
        for _ in range(3):
            append(a)
            await told(it)
            append(a)
            assert await told(it) == Changes(names_changed=False, files={a})


async def test_wait_that_is_cancelled_loses_nothing(tmp_path: Path) -> None:
    (a,) = made(tmp_path, "a")
    async with Watch() as it:
        await settled(it, [tmp_path], [a])
        for _ in range(5):
            waiting = asyncio.create_task(it.wait(_LIMIT_S))
            await asyncio.sleep(0)
            append(a)
            await asyncio.sleep(0)
            waiting.cancel()
            [outcome] = await asyncio.gather(waiting, return_exceptions=True)
            if isinstance(outcome, asyncio.CancelledError):
                outcome = await told(it)
            assert outcome == Changes(names_changed=False, files={a})


async def test_names_that_come_and_go_are_told(tmp_path: Path) -> None:
    (a,) = made(tmp_path, "a")
    async with Watch() as it:
        await settled(it, [tmp_path], [a])
        for change in (
            (tmp_path / "b").touch,
            lambda: (tmp_path / "b").rename(tmp_path / "c"),
            lambda: (tmp_path / "link").symlink_to("c"),
            (tmp_path / "c").unlink,
        ):
            change()
            changes = await told(it)
            assert changes.names_changed
            it.update([tmp_path], [a])
            assert await it.wait(0) == Changes(names_changed=False, files=set())


async def test_directory_that_is_moved_or_deleted_is_told(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    async with Watch() as it:
        it.update([directory], [])
        moved = directory.rename(tmp_path / "old")
        assert (await told(it)).names_changed
        it.update([moved], [])
        moved.rmdir()
        assert (await told(it)).names_changed


async def test_other_file_under_a_name_is_watched_and_the_renamed_one_too(tmp_path: Path) -> None:
    (a,) = made(tmp_path, "a")
    async with Watch() as it:
        await settled(it, [tmp_path], [a])
        old = a.rename(tmp_path / "a.1")
        a.touch()
        assert (await told(it)).names_changed
        it.update([tmp_path], [a, old])
        assert await told(it) == Changes(names_changed=False, files={old})
        append(a)
        assert await told(it) == Changes(names_changed=False, files={a})
        append(old)
        assert await told(it) == Changes(names_changed=False, files={old})


async def test_write_before_the_other_file_is_watched_is_told(tmp_path: Path) -> None:
    (a, b) = made(tmp_path, "a", "b")
    async with Watch() as it:
        await settled(it, [tmp_path], [a, b])
        (tmp_path / "c").touch()
        assert (await told(it)).names_changed
        append(b)
        it.update([tmp_path], [a, b])
        assert await told(it) == Changes(names_changed=False, files={b})
        append(b)
        assert await told(it) == Changes(names_changed=False, files={b})


async def test_two_names_of_one_file_are_told_both(tmp_path: Path) -> None:
    (a,) = made(tmp_path, "a")
    b = tmp_path / "b"
    os.link(a, b)
    async with Watch() as it:
        await settled(it, [tmp_path], [a, b])
        append(a)
        assert await told(it) == Changes(names_changed=False, files={a, b})
        it.update([tmp_path], [b])
        append(a)
        assert await told(it) == Changes(names_changed=False, files={b})


async def test_deleted_file_that_is_open_is_watched_by_its_descriptor(tmp_path: Path) -> None:
    (a,) = made(tmp_path, "a")
    with a.open("ab", buffering=0) as writer:
        a.unlink()
        path = Path(f"/proc/self/fd/{writer.fileno()}")
        async with Watch() as it:
            await settled(it, [tmp_path], [path])
            for _ in range(2):
                writer.write(b"x\n")
                assert await told(it) == Changes(names_changed=False, files={path})


async def test_busy_files_cost_one_event_each(tmp_path: Path) -> None:
    a, b, foreign = made(tmp_path, "a", "b", "foreign")
    async with Watch() as it:
        await settled(it, [tmp_path], [a, b])
        for _ in range(1000):
            for path in (a, b, foreign):
                append(path)
        assert it._notifier is not None
        # Two of 16 bytes each: written to, and not watched any more.
        assert len(os.read(it._notifier.fd, 100_000)) == 2 * 2 * 16


async def test_what_is_not_watched_any_more_costs_no_event(tmp_path: Path) -> None:
    a, b = made(tmp_path, "a", "b")
    async with Watch() as it:
        await settled(it, [tmp_path], [a, b])
        it.update([tmp_path], [b])
        assert it._notifier is not None
        assert it._notifier.take().files == set()  # that the watch is over is told
        append(a)
        assert select.select([it._notifier.fd], [], [], 0)[0] == []
        # Nor does a wait leave anything to the loop.
        await it.wait(0.1)
        assert not asyncio.get_running_loop().remove_reader(it._notifier.fd)


async def test_what_is_not_there_or_may_not_be_watched_is_no_fault(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    async with Watch() as it:
        await settled(it, [tmp_path, missing], [tmp_path / "a"])
        append(tmp_path / "a")
        assert await told(it) == Changes(names_changed=True, files=set())
        it.update([tmp_path, missing], [tmp_path / "a"])
        append(tmp_path / "a")
        assert await told(it) == Changes(names_changed=False, files={tmp_path / "a"})


async def test_overflow_of_the_queue_means_everything(tmp_path: Path) -> None:
    a, b = made(tmp_path, "a", "b")
    async with Watch() as it:
        await settled(it, [tmp_path], [a, b])
        assert it._notifier is not None
        real = it._notifier.take

        def overflown() -> inotify.Events:
            return real()._replace(files=set(), is_overflown=True)

        it._notifier.take = overflown  # type: ignore[method-assign]
        append(a)
        assert await told(it) == Changes(names_changed=True, files={a, b})
        for path in (a, b):
            append(path)
            assert await told(it) == Changes(names_changed=False, files={path})


@pytest.mark.parametrize("moment", ["begin", "update"])
async def test_without_inotify_everything_counts_as_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(24 if moment == "begin" else 28, "refused")

    a, b = made(tmp_path, "a", "b")
    if moment == "begin":
        monkeypatch.setattr(inotify, "Inotify", refuse)
    else:
        monkeypatch.setattr(asyncinotify.Inotify, "add_watch", refuse)
    limits = {
        "begin": "fs.inotify.max_user_instances or the limit on descriptors is reached",
        "update": "fs.inotify.max_user_watches is reached",
    }
    async with Watch() as it:
        it.update([tmp_path], [a, b])
        first = await it.wait(_LIMIT_S)
        assert first[:2] == (True, {a, b})
        assert first.reason == (
            f"inotify cannot tell of changes ({limits[moment]}), so all files are looked at every "
            "0.25 s"
        )
        for _ in range(2):
            assert await told(it) == Changes(names_changed=True, files={a, b})


async def test_everything_counts_as_changed_after_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_EVERYTHING_S", 0.3)
    a, b = made(tmp_path, "a", "b")
    async with Watch() as it:
        await settled(it, [tmp_path], [a, b])
        for _ in range(2):
            async with asyncio.timeout(_LIMIT_S):
                changes = await it.wait(10 * _LIMIT_S)
            assert changes == Changes(names_changed=True, files={a, b})


async def test_close_can_be_called_twice(tmp_path: Path) -> None:
    async with Watch() as it:
        it.update([tmp_path], [])
        it.close()

"""Journals and journalctl that end, vanish, or are damaged while a journal is read."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.journals import (
    SECOND_BOOT,
    entries,
    following_process,
    messages,
    reading,
    running,
    write,
)

from publisher.ship.journal.errors import JournalUnreadable


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
async def test_nothing_is_lost_or_repeated_when_journalctl_is_killed(
    journal: Path, number: int
) -> None:
    path = journal / "a.journal"
    write(path, entries(range(2000), PADDING="x" * 2000))
    async with reading(f"--directory={journal}") as read:
        assert await read.some(10) == messages(*range(10))
        os.kill(running().pid, number)
        assert await read.rest() == messages(*range(10, 2000))
    (sentence,) = read.told
    assert "killed by" in sentence


async def test_nothing_is_lost_or_repeated_when_a_following_journalctl_is_killed(
    journal: Path,
) -> None:
    path = journal / "a.journal"
    write(path, entries([0]))
    async with reading(f"--directory={journal}", follow=True) as read:
        assert await read.next() == "m0"
        for number in range(1, 4):
            arriving = asyncio.create_task(read.next())
            (await following_process()).kill()
            write(path, entries([number]))
            assert await arriving == f"m{number}"
    assert 1 <= len(read.told) <= 3


async def test_a_cursor_that_was_vacuumed_away_is_told_and_nothing_is_left_out(
    journal: Path,
) -> None:
    write(journal / "a@1.journal", entries(range(5)))
    async with reading(f"--directory={journal}") as first:
        await first.rest()
    (journal / "a@1.journal").unlink()
    write(journal / "a.journal", entries(range(10, 13)))
    async with reading(f"--directory={journal}", after=first.lines[2].cursor) as again:
        assert await again.rest() == messages(10, 11, 12)
    (sentence,) = again.told
    assert "no entry any more at which sending stopped, of 2023-11-14T22:13:20.002000Z" in sentence


@pytest.mark.parametrize("follow", [False, True])
async def test_a_cursor_of_a_later_time_than_all_entries_is_told(
    journal: Path, follow: bool, tmp_path: Path
) -> None:
    write(tmp_path / "other.journal", entries([100], SECOND_BOOT))
    async with reading(f"--file={tmp_path}/other.journal") as other:
        await other.rest()
    write(journal / "a.journal", entries(range(3)))
    after = other.lines[0].cursor
    async with reading(f"--directory={journal}", after=after, follow=follow) as read:
        assert await read.some(3) == messages(0, 1, 2)
    assert len(read.told) == 1


@pytest.mark.parametrize("number", [1, 3, 8, 99])
@pytest.mark.parametrize("follow", [False, True])
async def test_an_entry_that_was_numbered_anew_is_read_on_behind(
    journal: Path, number: int, follow: bool
) -> None:
    write(journal / "a.journal", entries(range(8)))
    async with reading(f"--directory={journal}") as first:
        await first.rest()
    after = first.lines[4].cursor.replace(";i=5;", f";i={number};")
    async with reading(f"--directory={journal}", after=after, follow=follow) as again:
        assert await again.some(3) == messages(5, 6, 7)
    assert again.told == []


async def test_what_comes_after_an_entry_that_was_numbered_anew_is_followed(journal: Path) -> None:
    write(journal / "a.journal", entries(range(8)))
    async with reading(f"--directory={journal}") as first:
        await first.rest()
    after = first.lines[-1].cursor.replace(";i=8;", ";i=99;")
    async with reading(f"--directory={journal}", after=after, follow=True) as again:
        arriving = asyncio.create_task(again.next())
        await following_process()
        write(journal / "a.journal", entries([8]))
        assert await arriving == "m8"
    assert again.told == []


async def test_a_copy_without_newer_entries_is_followed_from_the_same_entry(
    journal: Path, tmp_path: Path
) -> None:
    write(tmp_path / "original.journal", entries(range(20)))
    async with reading(f"--file={tmp_path}/original.journal") as first:
        await first.rest()
    write(journal / "copy.journal", entries(range(10, 20)))
    after = first.lines[-1].cursor
    async with reading(f"--directory={journal}", after=after, follow=True) as again:
        arriving = asyncio.create_task(again.next())
        await following_process()
        write(journal / "copy.journal", entries([20]))
        assert await arriving == "m20"
    assert again.told == []


async def test_a_copied_journal_is_read_on_behind_the_same_entry(
    journal: Path, tmp_path: Path
) -> None:
    write(tmp_path / "original.journal", entries(range(6)))
    async with reading(f"--file={tmp_path}/original.journal") as first:
        await first.rest()
    write(journal / "copy.journal", entries(range(6)))
    after = first.lines[2].cursor
    async with reading(f"--directory={journal}", after=after) as again:
        assert await again.rest() == messages(3, 4, 5)
    assert again.told == []
    assert again.lines[0].cursor != first.lines[3].cursor


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_closing_ends_journalctl(
    journal: Path, is_stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("publisher.ship.journal.process._PATIENCE_S", 0.1)
    write(journal / "a.journal", entries(range(1000), PADDING="x" * 5000))
    async with reading(f"--directory={journal}", follow=True) as read:
        await read.next()
        process = running()
        if is_stopped:
            process.suspend()
    assert not psutil.pid_exists(process.pid)
    assert read.told == []


async def test_a_cancelled_reader_ends_journalctl(journal: Path) -> None:
    write(journal / "a.journal", entries([1]))
    async with reading(f"--directory={journal}", follow=True) as read:
        await read.next()
        waiting = asyncio.create_task(read.next())
        process = await following_process()
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        assert not psutil.pid_exists(process.pid)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(b"nothing" * 1000), "ended with status 1: "),
        (lambda path: path.unlink(), "ended with status 1: "),
    ],
)
async def test_a_journal_that_cannot_be_read_at_first_is_refused(
    journal: Path, damage: Callable[[Path], object], says: str
) -> None:
    path = journal / "a.journal"
    write(path, entries([1]))
    damage(path)
    async with reading(f"--file={path}", follow=True) as read:
        with pytest.raises(JournalUnreadable, match=says):
            await read.next()


async def test_a_cursor_that_is_none_is_refused(journal: Path) -> None:
    write(journal / "a.journal", entries([1]))
    async with reading(f"--directory={journal}", after="nonsense") as read:
        with pytest.raises(JournalUnreadable, match="Failed to seek to cursor"):
            await read.next()


async def test_damage_behind_the_entries_read_ends_reading_with_its_reason(journal: Path) -> None:
    path = journal / "a.journal"
    write(path, entries(range(10)))
    content = bytearray(path.read_bytes())
    place = content.index(b"MESSAGE=m5")
    content[place : place + 4] = b"\xff" * 4
    path.write_bytes(content)
    async with reading(f"--directory={journal}") as read:
        assert await read.some(5) == messages(*range(5))
        with pytest.raises(JournalUnreadable, match="status 1"):
            await read.next()
    assert len(read.told) == 1


async def test_a_damaged_journal_beside_others_is_told_once(journal: Path) -> None:
    write(journal / "a.journal", entries([1]))
    (journal / "b.journal").write_bytes(b"nothing" * 1000)
    async with reading(f"--directory={journal}", follow=True) as read:
        assert await read.next() == "m1"
        arriving = asyncio.create_task(read.next())
        await following_process()
        write(journal / "a.journal", entries([2]))
        assert await arriving == "m2"
    assert [sentence for sentence in read.told if "corrupted" in sentence] == [
        f"journalctl: Journal file {journal}/b.journal corrupted, ignoring file."
    ]

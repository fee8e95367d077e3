"""Real journals, read by the real journalctl."""

import asyncio
from pathlib import Path

import psutil
import pytest
from support.journals import (
    LIMIT_S,
    SECOND_BOOT,
    Entry,
    Value,
    entries,
    following_process,
    messages,
    parsed,
    reading,
    running,
    shown,
    write,
)

from publisher.ship.journal.selection import journal_arguments


async def test_every_entry_is_given_with_all_its_fields(journal: Path) -> None:
    fields: dict[str, Value] = {
        "BIG": "x" * 200_000,
        "BINARY": bytes(range(256)) * 40,
        "ESCAPED": '\x1b[1m"__CURSOR":"s=1"',
        "QUOTED": '"__CURSOR":"s=1"',
        "REPEATED": ["one", "two"],
    }
    write(journal / "a.journal", entries(range(3), **fields))
    async with reading(f"--directory={journal}") as read:
        assert await read.rest() == messages(0, 1, 2)
    expected = shown(f"--directory={journal}")
    assert [parsed(line) for line in read.lines] == expected
    assert expected[0]["REPEATED"] == ["one", "two"]
    assert bytes(expected[0]["BINARY"]) == fields["BINARY"]
    assert read.told == []


async def test_reading_goes_on_behind_each_cursor(journal: Path) -> None:
    write(journal / "a.journal", entries(range(4)) + entries(range(4, 8), SECOND_BOOT))
    async with reading(f"--directory={journal}") as first:
        assert await first.rest() == messages(*range(8))
    for number, line in enumerate(first.lines):
        async with reading(f"--directory={journal}", after=line.cursor) as again:
            assert await again.rest() == messages(*range(number + 1, 8))
        assert again.told == []


async def test_entries_of_one_microsecond_are_given_once(journal: Path) -> None:
    write(journal / "a.journal", [Entry(1, fields={"N": str(n)}) for n in range(5)])
    async with reading(f"--directory={journal}") as first:
        assert len(await first.rest()) == 5
    async with reading(f"--directory={journal}", after=first.lines[2].cursor) as again:
        await again.rest()
    assert [line.cursor for line in again.lines] == [line.cursor for line in first.lines[3:]]


async def test_a_choice_of_entries_is_passed_on(journal: Path) -> None:
    write(
        journal / "a.journal",
        entries([1], _SYSTEMD_UNIT="b.service") + entries([2]) + entries([3], COLOR="red"),
    )
    async with reading(f"--directory={journal}") as everything:
        await everything.rest()
    arguments = journal_arguments([str(journal)], units=["b.service"])
    async with reading(*arguments) as read:
        assert await read.rest() == messages(1)
    async with reading(*journal_arguments([str(journal)], matches=["COLOR=red"])) as read:
        assert await read.rest() == messages(3)


async def test_followed_entries_of_every_boot_arrive_as_they_are_written(journal: Path) -> None:
    path = journal / "a.journal"
    write(path, entries(range(15)) + entries(range(15, 17), SECOND_BOOT))
    async with reading(f"--directory={journal}", follow=True) as read:
        assert await read.some(17) == messages(*range(17))
        await_next = asyncio.create_task(read.some(2))
        await following_process()
        write(path, entries([17, 18], "c" * 32))
        assert await await_next == messages(17, 18)
        write(path, entries([19], "d" * 32))
        assert await read.next() == "m19"
    assert read.told == []


async def test_following_an_empty_directory_waits_for_the_first_entry(journal: Path) -> None:
    async with reading(f"--directory={journal}", follow=True) as read:
        first = asyncio.create_task(read.some(2))
        await following_process()
        write(journal / "a.journal", entries([1, 2]))
        assert await first == messages(1, 2)


@pytest.mark.parametrize("by_files", [False, True])
async def test_rotated_journals_are_followed(journal: Path, by_files: bool) -> None:
    path = journal / "a.journal"
    write(path, entries([1]))
    arguments = [f"--file={journal}/a*.journal"] if by_files else [f"--directory={journal}"]
    async with reading(*arguments, follow=True) as read:
        assert await read.next() == "m1"
        for number in range(2, 12, 2):
            path.rename(journal / f"a@{number}.journal")
            write(path, entries([number]))
            assert await read.next() == f"m{number}"
            write(path, entries([number + 1]))
            assert await read.next() == f"m{number + 1}"
        (journal / "a@2.journal").unlink()
        write(path, entries([12]))
        assert await read.next() == "m12"
    assert read.told == []


async def test_colours_of_the_user_stay_out_of_entries(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEMD_COLORS", "1")
    write(journal / "a.journal", entries([1]))
    async with reading(f"--directory={journal}") as read:
        assert await read.rest() == messages(1)
    assert read.told == []


async def test_journals_of_several_writers_are_told(journal: Path) -> None:
    write(journal / "remote-a.journal", entries([1]))
    write(journal / "remote-b.journal", entries([2]))
    async with reading(f"--directory={journal}", follow=True) as read:
        assert await read.some(2) == messages(1, 2)
    (sentence,) = read.told
    assert "several writers (remote-a, remote-b)" in sentence


async def test_an_entry_of_more_than_16_mib_is_told_and_the_next_is_given(journal: Path) -> None:
    written = [Entry(1), Entry(2, fields={"BIG": "x" * 17_000_000}), Entry(3)]
    written.append(Entry(4, fields={"BIG": "x" * 16_000_000}))
    write(journal / "a.journal", written)
    async with reading(f"--directory={journal}") as read:
        assert await read.rest() == messages(1, 3, 4)
    (sentence,) = read.told
    assert "more than 16,777,216 bytes" in sentence
    assert len(read.lines[-1].data) > 16_000_000


async def test_what_is_not_taken_stays_with_journalctl(journal: Path) -> None:
    write(journal / "a.journal", entries(range(40), PADDING=b"\xff" * 100_000))
    async with reading(f"--directory={journal}") as read:
        await read.next()
        process = running()
        async with asyncio.timeout(LIMIT_S):
            written = await written_when_it_stands(process)
        assert written < 8 * 1024 * 1024
        assert await read.rest() == messages(*range(1, 40))
        assert sum(len(line.data) for line in read.lines) > 12 * 1024 * 1024


async def written_when_it_stands(process: psutil.Process) -> int:
    """The bytes that a process has written by the time that it writes no more."""
    looks: list[int] = []
    while len(looks) < 10 or looks[-10] != looks[-1]:
        looks.append(process.io_counters().write_chars)
        await asyncio.sleep(0.01)
    return looks[-1]

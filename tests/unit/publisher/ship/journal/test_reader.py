"""Where reading goes on, and how journalctl is called and ended."""

import asyncio
import os
from pathlib import Path

import pytest
from unit.publisher.ship.journal.answering import LIMIT_S, cursors, read, runs, script

from publisher.ship.journal import process
from publisher.ship.journal.reader import JournalReader

pytestmark = pytest.mark.usefixtures("processes", "no_descriptor_is_left")


async def test_a_cursor_that_is_missed_once_is_looked_for_again(bin_directory: Path) -> None:
    script(
        bin_directory,
        """
if number: put(entry(3))
put(entry(4))
""",
    )
    told: list[str] = []
    assert await read(told, after=cursors(3)[0]) == cursors(4)
    assert told == []


async def test_a_cursor_that_is_missed_twice_is_told_and_all_is_given(
    bin_directory: Path,
) -> None:
    script(
        bin_directory,
        """
if "--cursor" not in " ".join(sys.argv): put(entry(1)); put(entry(2))
put(entry(4))
""",
    )
    told: list[str] = []
    assert await read(told, after=cursors(3)[0]) == cursors(1, 2, 4)
    (sentence,) = told
    assert "no entry any more" in sentence


async def test_a_cursor_is_not_taken_for_gone_when_journalctl_is_killed(
    bin_directory: Path,
) -> None:
    script(
        bin_directory,
        """
if number < 3: die()
put(entry(3)); put(entry(4))
""",
    )
    told: list[str] = []
    assert await read(told, after=cursors(3)[0]) == cursors(4)
    assert len(told) == 1
    assert "killed" in told[0]


async def test_entries_of_the_same_microsecond_before_the_one_sought_are_left_out(
    bin_directory: Path,
) -> None:
    script(
        bin_directory,
        """
put(entry(3).replace("x=3", "x=0")); put(entry(3)); put(entry(3).replace("x=3", "x=9"))
""",
    )
    assert await read([], after=cursors(3)[0]) == [cursors(3)[0].replace("x=3", "x=9")]


@pytest.mark.parametrize(
    ("argument", "boots"), [("_PID=1", ""), ("--directory=/nowhere", "--merge ")]
)
async def test_the_journal_is_read_to_its_end_and_followed_from_there(
    bin_directory: Path, argument: str, boots: str
) -> None:
    script(bin_directory, "put(entry(at)); put(entry(at + 1))")
    reader = JournalReader([argument], None, follow=True, tell=print, first_wait_s=0.001)
    async with asyncio.timeout(LIMIT_S):
        assert [(await anext(reader)).cursor for _ in range(3)] == cursors(1, 2, 3)
        await reader.aclose()
    always, behind = "--output=json --all --no-pager", f"--cursor={cursors(2)[0]}"
    assert runs(bin_directory) == [
        f"{always} {argument}",
        f"{always} --follow --no-tail {boots}{behind} {argument}",
    ]


async def test_files_are_read_again_when_one_has_changed(
    bin_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(bin_directory, "put(entry(at)); put(entry(at + 1))")
    path = bin_directory / "a.journal"
    path.touch()
    looks: list[int] = []

    async def sleep(_: float) -> None:
        looks.append(len(runs(bin_directory)))
        if len(looks) % 5 == 0:
            os.utime(path, ns=(len(looks), len(looks)))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    reader = JournalReader([f"--file={path}"], None, follow=True, tell=print)
    async with asyncio.timeout(LIMIT_S):
        assert [(await anext(reader)).cursor for _ in range(4)] == cursors(1, 2, 3, 4)
        await reader.aclose()
    assert looks == [1] * 5 + [2] * 5


async def test_closing_asks_journalctl_to_end(bin_directory: Path) -> None:
    script(
        bin_directory,
        """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: (here / "asked").touch() or sys.exit())
put(entry(1))
time.sleep(600)
""",
    )
    assert await read([], 1) == cursors(1)
    assert (bin_directory / "asked").exists()


async def test_journalctl_that_ignores_the_end_is_killed(
    bin_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_PATIENCE_S", 0.1)
    script(
        bin_directory,
        """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(here / "pid").write_text(str(os.getpid()))
put(entry(1))
time.sleep(600)
""",
    )
    assert await read([], 1) == cursors(1)
    with pytest.raises(ProcessLookupError):
        os.kill(int((bin_directory / "pid").read_text()), 0)

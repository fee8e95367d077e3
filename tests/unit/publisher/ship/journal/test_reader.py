"""Faults of journalctl that can't be made with the real one: a script answers in its place."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from publisher.ship.journal import process
from publisher.ship.journal.errors import JournalUnreadable
from publisher.ship.journal.reader import JournalReader

pytestmark = pytest.mark.usefixtures("processes", "no_descriptor_is_left")

LIMIT_S = 60.0
SCRIPT = f"""#!{sys.executable}
import os, pathlib, sys
here = pathlib.Path(__file__).parent
runs = here / "runs"
number = len(runs.read_text().splitlines()) if runs.exists() else 0
with runs.open("a") as file:
    print(*sys.argv[1:], file=file)
def entry(number):
    return '{{"__CURSOR":"s=1;i=%x;b=a;m=%x;t=%x;x=%x","N":"%d"}}' % ((number,) * 5)
at = max([int(each.split(";")[1][2:], 16) for each in sys.argv if "--cursor=" in each], default=1)
def put(text):
    print(text, flush=True)
def say(text):
    print(text, file=sys.stderr, flush=True)
def die():
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def bin_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory in which programs are looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def script(directory: Path, body: str) -> None:
    """Make a journalctl: `number` is the number of its run, from 0."""
    path = directory / "journalctl"
    path.write_text(SCRIPT + body)
    path.chmod(0o755)


def runs(directory: Path) -> list[str]:
    return (directory / "runs").read_text().splitlines()


async def read(
    told: list[str], count: int | None = None, *, after: str | None = None, follow: bool = False
) -> list[str]:
    """The cursors that a reader gives, so many or to the end."""
    reader = JournalReader((), after, follow=follow, tell=told.append, first_wait_s=0.001)
    cursors: list[str] = []
    try:
        async with asyncio.timeout(LIMIT_S):
            while count is None or len(cursors) < count:
                cursors.append((await anext(reader)).cursor)
    except StopAsyncIteration:
        pass
    finally:
        await reader.aclose()
    return cursors


def cursors(*numbers: int) -> list[str]:
    return [f"s=1;i={n:x};b=a;m={n:x};t={n:x};x={n:x}" for n in numbers]


@pytest.mark.parametrize("follow", [False, True])
async def test_without_journalctl_the_journal_is_refused(bin_directory: Path, follow: bool) -> None:
    with pytest.raises(JournalUnreadable, match="install systemd") as refused:
        await read([], follow=follow)
    assert "\n" not in str(refused.value)


async def test_journalctl_that_cannot_be_run_is_refused(bin_directory: Path) -> None:
    (bin_directory / "journalctl").write_text("#!/nowhere\n")
    with pytest.raises(JournalUnreadable, match="Permission denied"):
        await read([])


async def test_half_an_entry_is_given_when_it_is_whole(bin_directory: Path) -> None:
    script(
        bin_directory,
        """
if number == 0:
    put(entry(1)); sys.stdout.write(entry(2)[:-9]); sys.stdout.flush(); die()
put(entry(1)); put(entry(2))
""",
    )
    told: list[str] = []
    assert await read(told) == cursors(1, 2)
    (sentence,) = told
    assert sentence.startswith("journalctl was killed by SIGKILL; ")
    assert f"--cursor={cursors(1)[0]}" in runs(bin_directory)[1]


async def test_a_row_of_failures_is_told_once_and_another_once_more(bin_directory: Path) -> None:
    script(
        bin_directory,
        """
if number in (1, 2, 3, 5, 6):
    say("broken"); sys.exit(3)
put(entry(at)); put(entry(at + 1))
if number < 7: die()
""",
    )
    told: list[str] = []
    assert await read(told) == cursors(1, 2, 3, 4)
    assert len(told) == 2


async def test_waits_grow_with_each_failure_in_a_row(
    bin_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(
        bin_directory,
        """
if number == 0: put(entry(1)); sys.exit(1)
if number < 12: sys.exit(1)
put(entry(1)); put(entry(2))
""",
    )
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    reader = JournalReader((), None, follow=True, tell=print, first_wait_s=1.0)
    async with asyncio.timeout(LIMIT_S):
        assert [(await anext(reader)).cursor for _ in range(2)] == cursors(1, 2)
        await reader.aclose()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]


async def test_a_journal_read_once_is_given_up_after_failures_in_a_row(
    bin_directory: Path,
) -> None:
    script(bin_directory, 'put(entry(1)); say("Bad message"); sys.exit(1)')
    told: list[str] = []
    with pytest.raises(JournalUnreadable, match="ended with status 1: Bad message"):
        await read(told)
    assert len(runs(bin_directory)) == 5
    assert len(told) == 1


async def test_a_journal_that_cannot_be_read_at_first_is_refused_at_once(
    bin_directory: Path,
) -> None:
    script(bin_directory, 'say("Permission denied"); sys.exit(1)')
    told: list[str] = []
    with pytest.raises(JournalUnreadable, match=r"Permission denied \(the group systemd-journal"):
        await read(told, follow=True)
    assert len(runs(bin_directory)) == 1
    assert told == []


async def test_hints_are_passed_on_once(bin_directory: Path) -> None:
    script(
        bin_directory,
        """
say("Hint: You are currently not seeing messages from other users and the system.")
say("      Users in the 'systemd-journal' group can see all messages. Pass -q to")
say("      turn off this notice.")
put(entry(at)); put(entry(at + 1))
if "--follow" in sys.argv: die()
""",
    )
    told: list[str] = []
    assert await read(told, 5, follow=True) == cursors(1, 2, 3, 4, 5)
    assert [sentence for sentence in told if sentence.startswith("journalctl: ")] == [
        "journalctl: Hint: You are currently not seeing messages from other users and the system.",
        "journalctl: Users in the 'systemd-journal' group can see all messages.",
    ]


async def test_what_journalctl_says_of_a_journal_that_it_read_is_passed_on(
    bin_directory: Path,
) -> None:
    script(bin_directory, 'say("Journal file a corrupted, ignoring file."); put(entry(1))')
    told: list[str] = []
    assert await read(told) == cursors(1)
    assert told == ["journalctl: Journal file a corrupted, ignoring file."]


def test_what_cannot_be_followed_is_refused_before_anything_is_read() -> None:
    with pytest.raises(JournalUnreadable, match="can't be followed"):
        JournalReader(["--unit=a*"], None, follow=True, tell=print)


async def test_what_is_no_entry_is_told_once_and_left_out(bin_directory: Path) -> None:
    script(bin_directory, 'put("-- Boot --"); put(entry(1)); put("-- Boot --"); put(entry(2))')
    told: list[str] = []
    assert await read(told) == cursors(1, 2)
    assert told == ["journalctl gave a line that is no entry: '-- Boot --'"]


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

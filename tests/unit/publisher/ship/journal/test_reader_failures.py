"""Failures of journalctl, and what it says."""

import asyncio
from pathlib import Path

import pytest
from unit.publisher.ship.journal.answering import LIMIT_S, cursors, read, runs, script

from publisher.ship.journal.errors import JournalUnreadable
from publisher.ship.journal.reader import JournalReader

pytestmark = pytest.mark.usefixtures("processes", "no_descriptor_is_left")


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

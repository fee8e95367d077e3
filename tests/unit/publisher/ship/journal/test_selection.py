"""What is read, in the words of journalctl."""

import os
from pathlib import Path

import pytest

from publisher.ship.journal.errors import JournalUnreadable
from publisher.ship.journal.selection import Selection, journal_arguments


def test_nothing_named_is_the_journal_of_this_machine() -> None:
    assert journal_arguments() == ()


def test_paths_units_identifiers_and_matches_become_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.journal").touch()
    monkeypatch.chdir(tmp_path)
    arguments = journal_arguments(
        ["a.journal", "*.journal"], units=["b.service"], identifiers=["c"], matches=["D=1", "+"]
    )
    assert arguments == (
        f"--file={tmp_path}/a.journal",
        f"--file={tmp_path}/*.journal",
        "--unit=b.service",
        "--identifier=c",
        "D=1",
        "+",
    )
    assert Selection(arguments).files == (f"{tmp_path}/a.journal", f"{tmp_path}/*.journal")
    assert Selection(arguments).directory is None


def test_a_directory_is_read_whole(tmp_path: Path) -> None:
    arguments = journal_arguments([str(tmp_path)])
    assert arguments == (f"--directory={tmp_path}",)
    assert Selection(arguments).directory == str(tmp_path)
    assert Selection(arguments).files == ()


def test_a_directory_beside_another_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.journal").touch()
    with pytest.raises(JournalUnreadable, match="goes alone"):
        journal_arguments([str(tmp_path), str(tmp_path / "a.journal")])


@pytest.mark.parametrize("name", ["a.journal", "*.journal"])
def test_a_journal_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(JournalUnreadable, match="there is no journal"):
        journal_arguments([str(tmp_path / name)])


@pytest.mark.parametrize(
    "argument",
    [
        "--output=cat", "-ocat", "--follow", "-f", "--lines=1", "--reverse", "--since=today",
        "--cursor=s", "--after-cursor=s", "--cursor-file=/x", "--boot", "--boot=0",
        "--vacuum-size=1", "--rotate", "--unit", "--merge=yes", "message=1", "word", "",
    ],
)  # fmt: skip
def test_what_does_not_choose_entries_is_refused(argument: str) -> None:
    with pytest.raises(JournalUnreadable, match="does not choose entries of a journal"):
        Selection((argument,))


@pytest.mark.parametrize(
    "argument", ["--unit=a", "--user-unit=a", "--merge", "--namespace=a", "_PID=1", "+", "A=\n="]
)
def test_what_chooses_entries_is_taken(argument: str) -> None:
    Selection((argument,)).check_following()


@pytest.mark.parametrize("argument", ["--unit=a*", "--user-unit=[ab]", "--unit=a?"])
def test_a_pattern_of_units_is_not_followed(argument: str) -> None:
    selection = Selection((argument,))
    with pytest.raises(JournalUnreadable, match="can't be followed"):
        selection.check_following()


def test_writers_are_told_apart_by_the_names_of_their_files(tmp_path: Path) -> None:
    names = ["system.journal", "system@1-2.journal", "user-1000.journal", "system@3.journal~"]
    for name in [*names, "notes.txt"]:
        (tmp_path / name).touch()
    selection = Selection((f"--directory={tmp_path}",))
    assert selection.writers() == ["system"]
    (tmp_path / "remote-a.journal").touch()
    assert selection.writers() == ["remote-a", "system"]
    assert Selection(()).writers() == []


def test_the_states_of_files_change_when_one_is_written_comes_or_goes(tmp_path: Path) -> None:
    selection = Selection((f"--file={tmp_path}/a*.journal", f"--file={tmp_path}/b.journal"))
    states = {selection.file_states()}
    path = tmp_path / "a1.journal"
    path.touch()
    states.add(selection.file_states())
    os.utime(path, ns=(1, 1))
    states.add(selection.file_states())
    (tmp_path / "b.journal").touch()
    states.add(selection.file_states())
    path.rename(tmp_path / "a2.journal")
    states.add(selection.file_states())
    (tmp_path / "c.journal").touch()
    states.add(selection.file_states())
    assert len(states) == 5

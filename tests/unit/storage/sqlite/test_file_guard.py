"""A file of a SQLite database that is gone, or another, is noticed and named; it may come back."""

from collections.abc import Callable
from pathlib import Path

import pytest

from storage.errors import StorageMisconfigured, StorageUnavailable
from storage.sqlite.file_guard import FileGuard

ENDS = ["", "-wal", "-shm"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    for end in ENDS:
        beside(path, end).write_text(f"the {end} file")
    return path


@pytest.fixture
def files(path: Path) -> FileGuard:
    files = FileGuard(path)
    files.record()
    return files


def beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def move_away(path: Path) -> None:
    path.rename(path.with_suffix(".away"))


def replace(path: Path) -> None:
    move_away(path)
    path.write_text("something else, and more of it")


def put_back(path: Path) -> None:
    path.with_suffix(".away").replace(path)


def told(files: FileGuard) -> str:
    with pytest.raises(StorageUnavailable) as caught:
        files.check()
    return str(caught.value)


def test_files_in_their_place_are_in_order(files: FileGuard) -> None:
    files.check()
    assert files.may_be_closed()
    assert not files.wal_is_orphaned()


@pytest.mark.parametrize("harm", [move_away, replace])
def test_a_database_that_is_gone_or_another_is_named_and_may_come_back(
    files: FileGuard, path: Path, harm: Callable[[Path], None]
) -> None:
    harm(path)
    assert told(files) == (
        f"the database file '{path}' was deleted or replaced while in use: put it back; or stop "
        f"the aggregator, remove '{path}-wal' and '{path}-shm', which belong to it, and start the "
        "aggregator with what is there then"
    )
    put_back(path)
    files.check()


@pytest.mark.parametrize("harm", [move_away, replace])
@pytest.mark.parametrize("end", ["-wal", "-shm"])
def test_a_companion_that_is_gone_or_another_is_named_and_may_come_back(
    files: FileGuard, path: Path, end: str, harm: Callable[[Path], None]
) -> None:
    harm(beside(path, end))
    assert told(files) == (
        f"'{path}{end}', a part of the database, was deleted or replaced while in use: put it "
        "back, or stop the aggregator and start it again"
    )
    put_back(beside(path, end))
    files.check()


def test_a_database_that_was_cut_short_is_not_used_again_however_it_grows(
    files: FileGuard, path: Path
) -> None:
    path.write_text("grown, " * 10)
    files.check()
    path.write_text("grown, " * 9)
    sentence = (
        f"the database file '{path}' was cut short or overwritten while in use: stop the "
        f"aggregator, remove '{path}-wal' and '{path}-shm', restore the file and start the "
        "aggregator again"
    )
    assert told(files) == sentence
    path.write_text("grown, " * 20)
    assert told(files) == sentence
    assert not files.may_be_closed()
    beside(path, "-wal").unlink()
    assert not files.wal_is_orphaned()
    beside(path, "-wal").touch()
    files.record()
    files.check()
    assert files.may_be_closed()


@pytest.mark.parametrize("end", ENDS)
def test_a_file_that_is_gone_already_is_not_noted(path: Path, end: str) -> None:
    beside(path, end).unlink()
    with pytest.raises(StorageUnavailable, match="deleted or replaced"):
        FileGuard(path).record()


@pytest.mark.parametrize("left", ["missing", "empty"])
def test_a_log_without_its_database_is_not_opened(path: Path, left: str) -> None:
    path.unlink() if left == "missing" else path.write_text("")
    with pytest.raises(StorageMisconfigured) as caught:
        FileGuard(path).check_before_opening()
    assert str(caught.value) == (
        f"the database file '{path}' is missing or empty, but '{path}-wal' holds what was stored "
        f"in it last: put the file back, or remove '{path}-wal' to begin a new log"
    )


@pytest.mark.parametrize("missing", [[], ["-wal"], ["", "-wal"], ENDS])
def test_whatever_lacks_no_database_may_be_opened(path: Path, missing: list[str]) -> None:
    for end in missing:
        beside(path, end).unlink()
    FileGuard(path).check_before_opening()


def test_an_empty_log_without_its_database_may_be_opened(path: Path) -> None:
    path.unlink()
    beside(path, "-wal").write_text("")
    FileGuard(path).check_before_opening()


@pytest.mark.parametrize(
    ("harm", "orphaned", "may_be_closed"),
    [
        ({"-wal": move_away}, True, True),
        ({"-wal": move_away, "-shm": move_away}, True, True),
        ({"-wal": move_away, "-shm": replace}, False, False),
        ({"-wal": move_away, "": move_away}, False, True),
        ({"-wal": move_away, "": replace}, False, True),
        ({"-wal": replace}, False, False),
        ({"-shm": replace}, False, False),
        ({"-shm": move_away}, False, True),
        ({"": move_away}, False, True),
    ],
)
def test_what_a_log_without_a_name_and_a_last_close_may_do(
    files: FileGuard,
    path: Path,
    harm: dict[str, Callable[[Path], None]],
    orphaned: bool,
    may_be_closed: bool,
) -> None:
    for end, act in harm.items():
        act(beside(path, end))
    assert files.wal_is_orphaned() == orphaned
    assert files.may_be_closed() == may_be_closed


def test_files_that_were_never_noted_are_nobody_s_concern(path: Path) -> None:
    files = FileGuard(path)
    beside(path, "-wal").unlink()
    files.check()
    assert files.may_be_closed()
    assert not files.wal_is_orphaned()


def test_behind_a_link_the_companions_are_those_of_the_file(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    files = FileGuard(link)
    files.record()
    files.check()
    beside(path, "-wal").unlink()
    assert files.wal_is_orphaned()
    assert f"'{path}-wal', a part" in told(files)

"""Which file holds which content, as files come, move, are emptied and go."""

import os
import shutil
from pathlib import Path

import pytest
from unit.publisher.ship.files.compressing import COMPRESS
from unit.publisher.ship.files.holding import Holding

from publisher.ship.files import regular_file
from publisher.ship.files.waiting import QUIET_S

OLD = [b"# heading\n", b"one\n", b"two\n"]
NEW = [b"# heading\n", b"new\n"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    write(path, OLD)
    return path


@pytest.fixture
def holding(log: Path) -> Holding:
    holding = Holding()
    assert holding.look(log) == OLD
    return holding


def write(path: Path, lines: list[bytes]) -> None:
    path.write_bytes(b"".join(lines))


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(lines))


def beside(path: Path, name: str = "app.log.1") -> Path:
    return path.with_name(name)


def test_appended_lines_follow(holding: Holding, log: Path) -> None:
    append(log, b"three\n", b"fou")
    assert holding.look(log) == [b"three\n"]
    append(log, b"r\n")
    assert holding.look(log) == [b"four\n"]


def test_what_was_renamed_goes_first_and_to_its_end(holding: Holding, log: Path) -> None:
    append(log, b"three\n", b"no end")
    log.rename(beside(log))
    write(log, NEW)
    assert holding.look(log) == [b"three\n", *NEW]
    assert holding.look(log, after_s=QUIET_S) == [b"no end"]
    assert holding.said == []
    assert holding.look(log, after_s=QUIET_S) == []
    assert len(holding.catalog.contents()) == 1


def test_what_was_renamed_is_read_on_while_it_is_written(holding: Holding, log: Path) -> None:
    log.rename(beside(log))
    holding.look(log, after_s=QUIET_S - 1)
    append(beside(log), b"late\n")
    assert holding.look(log, after_s=QUIET_S - 1) == [b"late\n"]
    append(beside(log), b"later\n")
    assert holding.look(log, after_s=QUIET_S - 1) == [b"later\n"]


def test_what_is_found_at_first_goes_by_its_age(log: Path) -> None:
    write(beside(log), NEW)
    os.utime(beside(log), ns=(0, 10**9))
    holding = Holding()
    assert holding.look(log, beside(log)) == [*NEW, *OLD]


def test_what_was_deleted_is_read_to_its_end(holding: Holding, log: Path) -> None:
    append(log, b"three\n", b"no end")
    log.unlink()
    assert holding.look(log) == [b"three\n"]
    assert holding.look(log, after_s=QUIET_S) == [b"no end"]
    write(log, OLD)
    # It has what the other has, of which a copy is not to be told: but that one has ended.
    assert holding.look(log) == OLD


def test_copied_and_emptied(holding: Holding, log: Path) -> None:
    append(log, b"three\n")
    shutil.copyfile(log, beside(log))
    os.truncate(log, 0)
    append(log, *NEW)
    assert sorted(holding.look(log)) == sorted([b"three\n", *NEW])
    assert holding.said == []


def test_copied_and_emptied_and_grown_beyond_the_old_end(holding: Holding, log: Path) -> None:
    append(log, b"three\n")
    shutil.copyfile(log, beside(log))
    os.truncate(log, 0)
    append(log, b"another\n" * 20)
    # Also where the copy matches a pattern.
    found = holding.look(log, beside(log))
    found += holding.look(log, beside(log))
    assert sorted(found) == sorted([b"three\n"] + [b"another\n"] * 20)
    assert holding.said == []
    assert holding.look(log, beside(log), after_s=QUIET_S) == []


def test_emptied_without_a_copy_is_said(holding: Holding, log: Path) -> None:
    os.truncate(log, 0)
    append(log, b"new\n")
    assert holding.look(log) == [b"new\n"]
    (said,) = holding.said
    assert said.startswith(f"'{log}' was emptied or written anew, and no copy of what it had")
    assert "behind byte 18" in said
    holding.look(log)
    assert len(holding.said) == 1


def test_copy_waits_until_its_original_is_emptied_or_it_is_quiet(
    holding: Holding, log: Path
) -> None:
    copy = beside(log)
    shutil.copyfile(log, copy)
    assert holding.look(log, copy) == []
    assert holding.look(log, copy, after_s=QUIET_S / 2) == []
    assert holding.catalog.wait_s(holding.now, 60.0) == pytest.approx(QUIET_S / 2)
    assert holding.catalog.has_to_look(holding.now + QUIET_S / 2)
    # It is no copy, but a backup that stays: a content of its own.
    assert holding.look(log, copy, after_s=QUIET_S / 2) == OLD


def test_file_with_more_than_another_has_is_no_copy(holding: Holding, log: Path) -> None:
    write(beside(log), [*OLD, b"more\n"])
    assert holding.look(log, beside(log)) == [*OLD, b"more\n"]


def test_renamed_while_nothing_ran_is_found_and_sent_on(holding: Holding, log: Path) -> None:
    append(log, b"three\n")
    log.rename(beside(log))
    write(log, NEW)
    holding = holding.restarted()
    assert holding.look(log) == [b"three\n", *NEW]
    assert holding.said == []


def test_moved_directly_below_while_nothing_ran_is_found(holding: Holding, log: Path) -> None:
    append(log, b"three\n")
    (log.parent / "old").mkdir()
    log.rename(log.parent / "old" / "app.log")
    holding = holding.restarted()
    assert holding.look(log) == [b"three\n"]


def test_moved_out_of_sight_while_nothing_ran_is_said_once(
    holding: Holding, log: Path, tmp_path: Path
) -> None:
    far = tmp_path / "a" / "b"
    far.mkdir(parents=True)
    log.rename(far / "app.log")
    holding = holding.restarted()
    assert holding.look(log) == []
    (said,) = holding.said
    assert said.startswith(f"the file that was '{log}' is not found: ")
    assert "behind byte 18" in said
    assert [state.ended for state in holding.catalog.changed()] == [True]
    holding = holding.restarted()
    holding.look(log)
    assert holding.said == []


def test_copied_and_emptied_while_nothing_ran(holding: Holding, log: Path) -> None:
    append(log, b"three\n")
    shutil.copyfile(log, beside(log))
    os.truncate(log, 0)
    append(log, *NEW)
    holding = holding.restarted()
    assert sorted(holding.look(log)) == sorted([b"three\n", *NEW])
    assert holding.said == []


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("runs", [True, False])
def test_compressed_unread_is_read_from_the_archive(
    holding: Holding, log: Path, suffix: str, runs: bool
) -> None:
    append(log, b"three\n")
    archive = beside(log, f"app.log.1{suffix}")
    archive.write_bytes(COMPRESS[suffix](log.read_bytes()))
    log.unlink()
    write(log, NEW)
    if not runs:
        holding = holding.restarted()
    assert holding.look(log, archive) == [b"three\n", *NEW]
    assert holding.look(log, archive, after_s=QUIET_S) == []
    assert holding.look(log, archive, after_s=QUIET_S) == []
    assert holding.said == []


def test_deleted_and_made_anew_with_the_same_bytes_is_another(holding: Holding, log: Path) -> None:
    log.unlink()
    holding = holding.restarted()
    assert holding.look(log) == []
    write(log, OLD)
    assert holding.look(log) == OLD


def test_restored_with_its_times_is_the_same(holding: Holding, log: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    shutil.copy2(log, backup / "app.log")
    log.unlink()
    holding = holding.restarted()
    shutil.copy2(backup / "app.log", log)
    shutil.rmtree(backup)
    assert holding.look(log) == []
    append(log, b"three\n")
    assert holding.look(log) == [b"three\n"]


def test_restored_without_its_times_is_another(holding: Holding, log: Path, tmp_path: Path) -> None:
    content = log.read_bytes()
    log.unlink()
    holding = holding.restarted()
    log.write_bytes(content)
    os.utime(log, ns=(0, 5 * 10**9))
    assert holding.look(log) == OLD


def test_two_names_of_a_file_are_one(holding: Holding, log: Path) -> None:
    os.link(log, beside(log, "hard"))
    assert holding.look(log, beside(log, "hard")) == []
    append(log, b"three\n")
    assert holding.look(log, beside(log, "hard")) == [b"three\n"]


def test_empty_file_is_not_opened(holding: Holding, log: Path) -> None:
    beside(log).touch()
    holding.look(log, beside(log))
    assert holding.catalog.at(beside(log)) is None
    append(beside(log), b"new\n")
    assert holding.look(log, beside(log)) == [b"new\n"]


def test_what_cannot_be_opened_is_said_once_and_tried_again(
    holding: Holding, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = beside(log)
    write(other, NEW)
    with monkeypatch.context() as patch:

        def fails(path: Path, _flags: int) -> int:
            raise PermissionError(13, "Permission denied", str(path))

        patch.setattr(regular_file.os, "open", fails)  # type: ignore[attr-defined]
        holding.look(log, other)
        holding.look(log, other)
        append(log, b"three\n")
        assert holding.look(log, other) == [b"three\n"]
    assert holding.said == [f"cannot read '{other}': Permission denied"]
    assert holding.look(log, other) == NEW


def test_once_does_not_wait_for_copies(log: Path) -> None:
    shutil.copyfile(log, beside(log))
    holding = Holding(follows=False)
    assert holding.look(log, beside(log)) == OLD * 2


def test_last_line_is_under_way_until_its_file_is_gone(log: Path) -> None:
    append(log, b"no end")
    holding = Holding(follows=False)
    assert holding.look(log) == OLD
    assert holding.finish() == [b"no end"]
    (state,) = holding.states
    assert state.place.position == len(b"".join(OLD))
    holding = Holding(holding.states, follows=False)
    assert holding.look(log) == []
    assert holding.finish() == [b"no end"]


@pytest.mark.parametrize("is_quiet", [False, True])
def test_once_ends_what_was_renamed_only_if_it_is_quiet(
    holding: Holding, log: Path, *, is_quiet: bool
) -> None:
    renamed = beside(log)
    log.rename(renamed)
    write(log, NEW)
    append(renamed, b"three\n")
    if is_quiet:
        os.utime(renamed, (0, 0))
    once = Holding(holding.states, follows=False)
    assert once.look(log) == [b"three\n", *NEW]
    assert once.finish() == []
    assert [state.ended for state in once.states] == [is_quiet, False]
    # Its writer goes on, and only the name of the log is shipped.
    append(renamed, b"four\n")
    if not is_quiet:
        assert Holding(once.states, follows=False).look(log) == [b"four\n"]

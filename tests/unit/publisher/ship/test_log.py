"""What a log's reader makes of files that come, go and change; no descriptor is left open."""

import os
import shutil
from pathlib import Path

import pytest
from unit.publisher.ship.reading import Reading, append

from publisher.ship.log import Log
from publisher.ship.opening import FileRefused
from publisher.ship.recognition import ROTATED_QUIET_S

HEADING = b"# heading\n"


pytestmark = pytest.mark.usefixtures("no_descriptor_is_left")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def tick(path: Path) -> None:
    """Return once the clock that directories are stamped with has gone on."""
    before = path.parent.stat().st_mtime_ns
    while path.parent.stat().st_mtime_ns == before:
        path.with_name("other").touch()
        path.with_name("other").unlink()


def test_a_line_under_way_waits_for_its_end(path: Path) -> None:
    path.write_bytes(b"one\ntw")
    with Reading(path) as reading:
        assert reading.read() == [b"one\n"]
        append(path, b"o\r")
        assert reading.read() == []
        append(path, b"\n")
        assert reading.read() == [b"two\r\n"]


def test_a_renamed_file_is_read_to_its_end_and_let_go_of_when_it_is_quiet(path: Path) -> None:
    path.write_bytes(b"one\n")
    with Reading(path) as reading:
        assert reading.read() == [b"one\n"]
        path.rename(path.with_name("app.log.1"))
        path.write_bytes(b"new\n")
        append(path.with_name("app.log.1"), b"two\nhal")
        assert reading.read() == [b"two\n", b"new\n"]
        reading.now += ROTATED_QUIET_S / 2
        append(path.with_name("app.log.1"), b"f\nend")
        assert reading.read() == [b"half\n"]
        reading.now += ROTATED_QUIET_S / 2
        assert reading.read() + reading._taken(reading.log.finished(reading.now)) == []
        assert reading.quiet() == [b"end"]
        path.with_name("app.log.1").unlink()
        assert reading.read() == []


def test_what_was_cut_short_before_it_was_read_comes_before_what_followed(path: Path) -> None:
    path.write_bytes(b"one\n")
    with Reading(path) as reading:
        for number, (line, following) in enumerate([(b"one\n", b"two\n"), (b"two\n", b"three\n")]):
            # No look lies between the cut and the reading.
            tick(path)
            shutil.copyfile(path, path.with_name(f"app.log.{2 - number}"))
            path.write_bytes(following)
            assert reading._taken([reading.log.read(reading.now)]) == [line]
        assert reading.read() == [b"three\n"]


def test_what_waits_for_its_turn_is_not_let_go_of(path: Path) -> None:
    path.with_name("app.log.2").write_bytes(b"one\n")
    path.with_name("app.log.1").write_bytes(b"two\n")
    os.utime(path.with_name("app.log.2"), (1, 1))
    path.write_bytes(b"three\n")
    with Reading(path) as reading:
        reading.now += 10 * ROTATED_QUIET_S
        assert reading._taken([reading.log.read(reading.now)]) == [b"one\n"]
        assert reading.log.finished(reading.now) == []
        reading.now += 10 * ROTATED_QUIET_S
        assert reading.log.finished(reading.now) == []
        assert reading.read() == [b"two\n", b"three\n"]


def test_what_is_cut_short_without_a_copy_gives_the_line_under_way(path: Path) -> None:
    path.write_bytes(b"one\nhalf")
    with Reading(path) as reading:
        assert reading.read() == [b"one\n"]
        path.write_bytes(b"new and longer than what was there before\n")
        assert reading.read() == [b"half", b"new and longer than what was there before\n"]


def test_what_is_cut_short_after_it_was_copied_goes_on_in_the_copy(path: Path) -> None:
    path.write_bytes(b"one\nha")
    with Reading(path) as reading:
        assert reading.read() == [b"one\n"]
        append(path, b"lf\nthree")
        shutil.copyfile(path, path.with_name("app.log.1"))
        path.write_bytes(b"new\n")
        assert reading.read() == [b"half\n", b"new\n"]
        assert reading.quiet() == [b"three"]


def test_a_sparse_file_after_a_truncation_is_read_as_it_is(path: Path) -> None:
    with path.open("wb", buffering=0) as writer:
        writer.write(b"one\n" * 3)
        with Reading(path) as reading:
            assert len(reading.read()) == 3
            os.truncate(path, 0)
            writer.write(b"two\n")
            assert reading.read() == [b"\0" * 12 + b"two\n"]


@pytest.mark.parametrize("is_read", [True, False])
def test_a_file_that_is_replaced_by_the_same_and_more_goes_on(path: Path, is_read: bool) -> None:
    path.write_bytes(b"one\n")
    with Reading(path) as reading:
        lines = reading.read() if is_read else []
        path.with_name("new").write_bytes(b"one\ntwo\n")
        path.with_name("new").replace(path)
        assert lines + reading.read() == [b"one\n", b"two\n"]


def test_a_file_that_is_replaced_by_another_begins_anew(path: Path) -> None:
    path.write_bytes(b"one\n")
    with Reading(path) as reading:
        assert reading.read() == [b"one\n"]
        append(path, b"unread\n")
        path.with_name("new").write_bytes(b"other\n")
        path.with_name("new").replace(path)
        assert reading.read() == [b"unread\n", b"other\n"]


def test_shipping_once_leaves_the_files_beside_alone(path: Path) -> None:
    path.with_name("app.log.1").write_bytes(b"earlier\n")
    path.write_bytes(b"one\ntwo\n")
    with Reading(path, earlier=False) as reading:
        assert reading.read() == [b"one\n", b"two\n"]
        path.write_bytes(b"new\n")
        assert reading.read() == [b"new\n"]


def test_a_link_that_leads_to_the_next_file_goes_on_there(path: Path) -> None:
    first, second = path.with_name("app-20260131.log"), path.with_name("app-20260201.log")
    first.write_bytes(b"one\n")
    path.symlink_to(first)
    with Reading(path) as reading:
        assert reading.read() == [b"one\n"]
        append(first, b"two\n")
        second.write_bytes(b"three\n")
        path.unlink()
        path.symlink_to(second)
        assert reading.read() == [b"two\n", b"three\n"]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_takes_the_place_of_a_log_and_is_no_file_is_refused(path: Path, make: object) -> None:
    path.write_bytes(b"one\n")
    with Reading(path) as reading:
        path.unlink()
        make(path)  # type: ignore[operator]
        with pytest.raises(FileRefused, match=r"it is (a directory|not a regular file)"):
            reading.log.look()


def test_a_file_beside_that_cannot_be_read_leaves_no_descriptor(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["app.log.3", "app.log.2", "app.log.1", "app.log"]
    for age, name in enumerate(names):
        path.with_name(name).write_bytes(f"{name}\n".encode())
        os.utime(path.with_name(name), (age, age))
    real = os.open

    def refuse(file: str | Path, flags: int, *rest: object, **more: object) -> int:
        if Path(file).name == "app.log.1":
            raise PermissionError(13, "Permission denied")
        return real(file, flags, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    log = Log(path, "app", [], set())
    with pytest.raises(FileRefused, match=r"app\.log\.1': Permission denied"):
        log.begin(earlier=True)


def test_a_file_beside_that_nobody_named_need_not_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"one\n")
    path.with_name("app.log.secret").write_bytes(b"x")
    real = os.open

    def refuse(file: str | Path, flags: int, *rest: object, **more: object) -> int:
        if Path(file).name == "app.log.secret":
            raise PermissionError(13, "Permission denied")
        return real(file, flags, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    with Reading(path) as reading:
        assert reading.read() == [b"one\n"]


@pytest.mark.parametrize("goes", ["app.log.2", "app.log"])
def test_a_file_that_vanishes_before_it_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch, goes: str
) -> None:
    for name in ["app.log.2", "app.log.1", "app.log"]:
        path.with_name(name).write_bytes(f"{name}\n".encode())
    real = os.open

    def vanish(file: str | Path, flags: int, *rest: object, **more: object) -> int:
        if Path(file).name == goes:
            Path(file).unlink(missing_ok=True)
        return real(file, flags, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", vanish)
    with Reading(path) as reading:
        there = {b"app.log.2\n", b"app.log.1\n", b"app.log\n"} - {f"{goes}\n".encode()}
        assert set(reading.read()) == there


def test_nothing_in_an_empty_file_until_something_is(path: Path) -> None:
    path.touch()
    with Reading(path) as reading:
        assert reading.read() == []
        append(path, b"one\n")
        assert reading.read() == [b"one\n"]

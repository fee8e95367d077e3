"""Contents that begin alike, and copies of them, are told apart by what the files hold."""

import os
import shutil
from pathlib import Path

import pytest
from unit.publisher.ship.reading import Reading, append, rewrite

HEADING = b"# heading\n"

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def test_a_copy_of_a_heading_that_was_regrown_is_found_when_it_is_made(path: Path) -> None:
    path.write_bytes(HEADING)
    with Reading(path) as reading:
        assert reading.read() == [HEADING]
        append(path, b"one\n")
        shutil.copyfile(path, path.with_name("app.log.1"))
        path.write_bytes(HEADING + b"two\n")
        os.utime(path.parent, ns=(1, 1))  # whatever the clock of the file system
        assert reading.read() == [b"one\n", HEADING, b"two\n"]


@pytest.mark.parametrize("rotate", [Path.rename, shutil.copyfile])
def test_contents_that_begin_alike_are_told_apart_after_a_crash(path: Path, rotate: object) -> None:
    path.write_bytes(HEADING)
    with Reading(path) as reading:
        assert reading.read() == [HEADING]
        known = list(reading.known.values())
    for number, line in [(2, b"one\n"), (1, b"two\n")]:
        append(path, line)
        rotate(path, path.with_name(f"app.log.{number}"))  # type: ignore[operator]
        os.utime(path.with_name(f"app.log.{number}"), (3 - number, 3 - number))
        path.write_bytes(HEADING)
    append(path, b"three\n")
    with Reading(path, known) as reading:
        assert reading.read() == [b"one\n", HEADING, b"two\n", HEADING, b"three\n"]


def test_a_copy_of_what_is_there_is_not_read_twice(path: Path) -> None:
    path.write_bytes(b"one\ntwo\n")
    shutil.copyfile(path, path.with_name("app.log.1"))
    append(path, b"three\n")
    os.link(path, path.with_name("app.log.2"))
    with Reading(path) as reading:
        assert reading.read() == [b"one\n", b"two\n", b"three\n"]


def test_two_copies_of_a_content_that_is_gone_are_one(path: Path) -> None:
    path.with_name("app.log.1").write_bytes(b"one\ntwo\n")
    path.with_name("app.log.2").write_bytes(b"one\ntwo\n")
    path.write_bytes(b"new\n")
    with Reading(path) as reading:
        assert reading.read() == [b"one\n", b"two\n", b"new\n"]


def test_a_copy_of_what_is_gone_is_not_taken_for_a_beginning_of_what_is_there(path: Path) -> None:
    path.write_bytes(HEADING + b"one\n")
    with Reading(path) as reading:
        shutil.copyfile(path, path.with_name("app.log.1"))
        append(path, b"two\n")
        assert reading.read() == [HEADING, b"one\n", b"two\n"]
        rewrite(path, HEADING)
        assert reading.read()[-1:] == [HEADING]
        known = [*reading.known.values()]
        (latest,) = [entry for entry in known if entry.progress.position == len(HEADING)]
    rewrite(path, HEADING + b"three\n")
    with Reading(path, known) as reading:
        lines = reading.read()
        assert lines[-1] == b"three\n"
        assert reading.known[latest.content].progress.position == len(HEADING + b"three\n")
        assert HEADING not in lines or lines == [HEADING, b"one\n", b"three\n"]


def test_a_heading_that_is_rewritten_is_one_beside_a_content_that_begins_alike(path: Path) -> None:
    path.with_name("app.log.1").write_bytes(HEADING + b"one\n")
    path.write_bytes(HEADING)
    with Reading(path) as reading:
        assert reading.read() == [HEADING, b"one\n", HEADING]
        rewrite(path, HEADING)
        assert reading.read() == []
        append(path, b"two\n")
        assert reading.read() == [b"two\n"]

"""A content that is not where it was is found by its bytes, and nothing else is taken for it."""

import gzip
import os
import shutil
from pathlib import Path

import pytest

from publisher.ship.files.line_reader import LineReader
from publisher.ship.files.readable_file import ReadableFile, open_file
from publisher.ship.files.search import ends_alike, found_elsewhere, has_all, is_moved
from publisher.ship.files.state import ContentState, Place

CONTENT = b"".join(b"line %d\n" % number for number in range(1000))
MAX_LINE_BYTES = 100_000


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(CONTENT)
    return path


def state_of(log: Path, position: int = len(CONTENT)) -> ContentState:
    """The state of a content that was sent up to there."""
    with_file = open_file(log)
    with_file.close()
    lines = LineReader(0, b"", MAX_LINE_BYTES)
    sent = log.read_bytes()[:position]
    lines.feed(sent)
    lines.finish()
    place = Place(position, lines.chain, sent[:1024], sent[-256:])
    status = log.stat()
    return ContentState(
        str(log),
        "source",
        "web1",
        with_file.identity,
        place=place,
        size=status.st_size,
        changed_ns=status.st_mtime_ns,
    )


def found(state: ContentState, *, replaced: bool = False) -> Path | None:
    file = found_elsewhere(
        state,
        replaced=replaced,
        besides=(),
        is_anothers=lambda _: False,
        max_line_bytes=MAX_LINE_BYTES,
    )
    if file is None:
        return None
    file.close()
    return file.path


def opened(path: Path, content: bytes) -> ReadableFile:
    path.write_bytes(content)
    return open_file(path)


def test_ends_are_compared_and_all_is(log: Path) -> None:
    state = state_of(log)
    middle = CONTENT[:4000] + b"X" + CONTENT[4001:]
    for content, ends, everything in [
        (CONTENT, True, True),
        (CONTENT + b"more\n", True, True),
        (middle, True, False),
        (b"X" + CONTENT[1:], False, False),
        (CONTENT[:-1], False, False),
        (b"", False, False),
    ]:
        file = opened(log.with_name("other"), content)
        assert ends_alike(file, state) == ends
        assert has_all(file, state, MAX_LINE_BYTES) == everything
        file.close()


def test_renamed_file_is_found_by_its_inode(log: Path) -> None:
    state = state_of(log)
    log.rename(log.with_name("any name"))
    assert found(state) == log.with_name("any name")


@pytest.mark.parametrize("below", ["", "old"])
def test_archive_is_found_in_the_directory_and_directly_below(log: Path, below: str) -> None:
    state = state_of(log)
    archive = log.parent / below / "x.gz"
    archive.parent.mkdir(exist_ok=True)
    archive.write_bytes(gzip.compress(CONTENT + b"more\n"))
    log.unlink()
    assert found(state) == archive


def test_copy_is_taken_for_it_only_if_its_own_file_holds_other_bytes(log: Path) -> None:
    state = state_of(log)
    copy = log.with_name("copy")
    copy.write_bytes(CONTENT)
    os.utime(copy, ns=(0, 10**9))
    away = log.parent.with_name("away")
    log.rename(away)
    assert found(state) is None
    assert found(state, replaced=True) == copy
    away.rename(log.with_name("renamed"))
    log.with_name("renamed").write_bytes(b"new\n")
    assert found(state) == copy


def test_file_that_was_moved_with_its_times_is_found(log: Path) -> None:
    state = state_of(log)
    shutil.copy2(log, log.with_name("moved"))
    log.unlink()
    assert found(state) == log.with_name("moved")


@pytest.mark.parametrize("step_ns", [1, 100, 1_000, 1_000_000_000])
def test_times_are_compared_as_far_as_they_are_kept(log: Path, step_ns: int) -> None:
    os.utime(log, ns=(0, 1_700_000_000_123_456_789))
    state = state_of(log)
    kept_ns = 1_700_000_000_123_456_789 // step_ns * step_ns
    os.utime(log, ns=(0, kept_ns))
    file = open_file(log)
    assert is_moved(file, state)
    os.utime(log, ns=(0, kept_ns + 1))
    assert is_moved(file, state) is False
    file.close()


def test_directories_further_down_are_not_searched(log: Path) -> None:
    state = state_of(log)
    far = log.parent / "a" / "b"
    far.mkdir(parents=True)
    log.rename(far / "app.log")
    assert found(state) is None


def test_pipes_links_and_what_cannot_be_read_are_passed_over(log: Path) -> None:
    state = state_of(log)
    os.mkfifo(log.with_name("a pipe"))
    log.with_name("a link").symlink_to("/dev/zero")
    log.with_name("a broken.gz").write_bytes(gzip.compress(CONTENT)[:50])
    log.rename(log.with_name("z"))
    assert found(state) == log.with_name("z")


def test_directory_that_is_gone_holds_nothing(log: Path) -> None:
    state = state_of(log)
    state.path = str(log.parent / "gone" / "app.log")
    assert found(state) is None

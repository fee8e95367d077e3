"""Contents that come and go unseen are found beside the log, before what it holds now."""

import gzip
import os
from pathlib import Path

import pytest
from unit.publisher.ship.files.holding import Holding

from publisher.ship.files.unseen import is_named_after
from publisher.ship.files.waiting import QUIET_S

FIRST, SECOND, THIRD = b"first\n", b"second\n", b"third\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(FIRST)
    os.utime(path, ns=(10**18, 10**18))
    return path


def rotated_twice(log: Path, *, compress: bool = False) -> None:
    log.rename(log.with_name("app.log.2"))
    log.with_name("app.log.1").write_bytes(SECOND)
    if compress:
        log.with_name("app.log.2.gz").write_bytes(gzip.compress(FIRST))
        log.with_name("app.log.2").unlink()
    log.write_bytes(THIRD)


@pytest.mark.parametrize("is_stopped", [False, True])
@pytest.mark.parametrize("compress", [False, True])
def test_content_between_two_looks_is_read_before_the_last(
    log: Path, *, is_stopped: bool, compress: bool
) -> None:
    holding = Holding()
    assert holding.look(log) == [FIRST]
    rotated_twice(log, compress=compress)
    if is_stopped:
        holding = holding.restarted()
    assert holding.look(log) == [SECOND, THIRD]
    assert {state.path for state in holding.states} == {str(log)}
    assert holding.look(log, after_s=QUIET_S) == []
    assert holding.look(log, after_s=QUIET_S) == []
    assert [each.path for each in holding.catalog.contents()] == [log]


def test_what_lay_there_before_is_not_read(log: Path) -> None:
    older = log.with_name("app.log.1")
    older.write_bytes(b"older\n")
    os.utime(older, ns=(10**18 - 1, 10**18 - 1))
    holding = Holding()
    assert holding.look(log) == [FIRST]
    log.rename(log.with_name("app.log.2"))
    log.write_bytes(SECOND)
    assert holding.look(log) == [SECOND]


def test_another_log_beside_it_is_not_read(log: Path) -> None:
    holding = Holding()
    assert holding.look(log) == [FIRST]
    log.with_name("other.log").write_bytes(b"other\n")
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(SECOND)
    assert holding.look(log) == [SECOND]


@pytest.mark.parametrize(
    ("name", "is_after"),
    [
        ("app.log", False),
        ("app.log.1", True),
        ("app.log-20261130.gz", True),
        ("app.1.log", True),
        ("app-2026-11-30.log", True),
        ("app-1.log.gz", True),
        ("application.log", False),
        ("app.txt", False),
        ("other.log", False),
    ],
)
def test_names_that_rotation_gives(name: str, *, is_after: bool) -> None:
    assert is_named_after(name, "app.log") is is_after

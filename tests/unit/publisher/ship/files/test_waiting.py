"""A file that may be a copy waits until it was quiet for ten seconds."""

from pathlib import Path

import pytest

from publisher.ship.files.waiting import Waiting

KEY = (1, 2)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "copy"
    path.write_bytes(b"one\n")
    return path


def test_file_waits_ten_seconds(copy: Path) -> None:
    waiting = Waiting()
    assert not waiting.goes_on(KEY, copy.stat(), 100.0)
    assert waiting.begins(KEY, copy.stat(), 100.0)
    assert waiting.goes_on(KEY, copy.stat(), 109.9)
    assert waiting.begins(KEY, copy.stat(), 109.9)
    assert waiting.due_in_s(103.0) == [7.0]
    assert not waiting.goes_on(KEY, copy.stat(), 110.0)
    assert not waiting.begins(KEY, copy.stat(), 110.0)
    assert waiting.due_in_s(110.0) == []


def test_file_that_changes_waits_anew(copy: Path) -> None:
    waiting = Waiting()
    waiting.begins(KEY, copy.stat(), 100.0)
    with copy.open("ab") as file:
        file.write(b"two\n")
    assert not waiting.goes_on(KEY, copy.stat(), 105.0)
    assert waiting.begins(KEY, copy.stat(), 105.0)
    assert waiting.goes_on(KEY, copy.stat(), 114.0)
    assert not waiting.begins(KEY, copy.stat(), 115.0)


def test_file_that_is_gone_is_forgotten(copy: Path) -> None:
    waiting = Waiting()
    waiting.begins(KEY, copy.stat(), 100.0)
    waiting.begins((1, 3), copy.stat(), 101.0)
    waiting.keep([(1, 3)])
    assert waiting.due_in_s(101.0) == [10.0]
    assert waiting.begins(KEY, copy.stat(), 110.0)

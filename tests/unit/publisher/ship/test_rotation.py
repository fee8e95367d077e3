"""Which names are those of a log's earlier contents, and which of them is the oldest."""

import os
from pathlib import Path

import pytest

from publisher.ship.rotation import files_beside, name_before_rotation, oldest_first


@pytest.mark.parametrize(
    ("name", "log"),
    [
        ("app.log.1", "app.log"),
        ("app.log.12345", "app.log"),
        ("app.log-20260131", "app.log"),
        ("app.log-2026-01-31", "app.log"),
        ("app.log.2026-01-31", "app.log"),
        ("app.log.2026-01-31-13", "app.log"),
        ("app.log_20260131", "app.log"),
        ("app.log-20260131T120000", "app.log"),
        ("app.log-20260131-1769860800", "app.log"),
        ("app-20260131.log", "app.log"),
        ("app-2026-01-31.log", "app.log"),
        ("app.2026-01-31.log", "app.log"),
        ("0.log.20260131-120000", "0.log"),
        ("a\nb.1", "a\nb"),
        ("messages.1", "messages"),
        ("app.log.1.2", "app.log.1"),
    ],
)
def test_a_rotated_name(name: str, log: str) -> None:
    assert name_before_rotation(name) == log


@pytest.mark.parametrize(
    "name",
    ["app.log", "app.log.1.gz", "app.log-20260131.gz", "app.log.old", "app.log.bak", ".1",
     "app.log.123456", "app-1.log", "app2026.log", "20260131.log", "app.log.", "-20260131"],
)  # fmt: skip
def test_another_name(name: str) -> None:
    assert name_before_rotation(name) is None


def test_the_oldest_is_the_one_numbered_highest_and_else_the_one_that_was_written_first(
    tmp_path: Path,
) -> None:
    written = {"a.log.2": 7, "a.log.10": 4, "a.log-20260131": 1, "a.log.1": 6, "a.log.bak": 5}
    for name, at in written.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (at, at))
    files = {path: path.stat() for path in tmp_path.iterdir()}
    names = [path.name for path in oldest_first(files)]
    assert names == ["a.log-20260131", "a.log.10", "a.log.bak", "a.log.2", "a.log.1"]


def test_the_files_beside_a_log(tmp_path: Path) -> None:
    for name in ["app.log", "app.log.1", "app.log.bak", "other.log", "moved"]:
        (tmp_path / name).touch()
    (tmp_path / "app.log.2").mkdir()
    (tmp_path / "app.log.3").symlink_to("other.log")
    os.mkfifo(tmp_path / "app.log.4")
    wanted = {(tmp_path / "moved").stat().st_ino}
    found = {file.path.name: file.is_rotated for file in files_beside(tmp_path / "app.log", wanted)}
    assert found == {"app.log.1": True, "app.log.bak": False, "moved": False}


def test_a_log_that_is_a_link_is_rotated_where_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for name in ["0.log", "0.log.20260131-120000"]:
        (tmp_path / "real" / name).touch()
    (tmp_path / "app.log").symlink_to(tmp_path / "real" / "0.log")
    (tmp_path / "app.log.1").touch()
    found = {file.path.name for file in files_beside(tmp_path / "app.log", set())}
    assert found == {"0.log.20260131-120000", "app.log.1"}

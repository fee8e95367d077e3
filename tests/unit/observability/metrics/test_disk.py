"""The free room on the disk of the SQLite file."""

import os
from pathlib import Path

import pytest

from aggregator.observability.metrics.gauges import disk_families


def free(database: Path | None) -> list[float]:
    (family,) = disk_families(database)
    assert family.name == "aggregator_database_free_bytes"
    return [sample.value for sample in family.samples]


class Room:
    """What a file system says of itself: blocks that only root may use are not free."""

    f_bavail, f_bfree, f_frsize, f_bsize = 3, 5, 4096, 65_536


def test_it_is_that_of_the_file_system_of_the_file_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def statvfs(path: Path) -> Room:
        asked.append(path)
        return Room()

    monkeypatch.setattr(os, "statvfs", statvfs)
    (tmp_path / "disk").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "disk" / "events.db")
    for name in ("events.db", "link.db"):
        assert free(tmp_path / name) == [3 * 4096]
    assert asked == [tmp_path, tmp_path / "disk"]


def test_a_real_disk_has_some(tmp_path: Path) -> None:
    (bytes_,) = free(tmp_path / "events.db")
    assert bytes_ > 0


def test_without_a_file_and_without_a_disk_there_is_no_sample(tmp_path: Path) -> None:
    assert free(None) == []
    assert free(tmp_path / "gone" / "events.db") == []

"""What a file is known by, as it is renamed, linked, written, deleted and made anew."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from publisher.ship.files import identity
from publisher.ship.files.identity import FileIdentity, identify, is_same

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left")


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        yield fd
    finally:
        os.close(fd)


def identity_of(path: Path) -> FileIdentity:
    with opened(path) as fd:
        return identify(fd)


def test_identity_is_kept_whatever_is_done_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    first = identity_of(path)
    path.write_bytes(b"one\n")
    path.chmod(0o600)
    os.utime(path, (1, 1))
    moved = path.rename(tmp_path / "app.log.1")
    os.link(moved, path)
    os.truncate(path, 0)
    assert is_same(identity_of(path), first)
    assert identity_of(moved) == first
    assert first[:2] == (path.stat().st_dev, path.stat().st_ino)


def test_file_with_the_inode_of_a_deleted_one_is_another(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    seen: dict[int, FileIdentity] = {}
    for _ in range(200):
        found = identity_of(path)
        if found.birth_ns is None:
            pytest.skip("the file system does not tell when a file was made")
        path.unlink()
        if found.inode in seen:
            assert not is_same(found, seen[found.inode])
            return
        seen[found.inode] = found
    pytest.skip("the file system gives no inode twice")


@pytest.mark.skipif(sys.platform != "linux", reason="statx(2) is Linux's")
def test_birth_is_the_one_that_the_system_tells(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.touch()
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # until its clock has gone on
        os.utime(path, (1, 1))
    found = identity_of(path)
    if found.birth_ns is None:
        pytest.skip("the file system does not tell when a file was made")
    # When it was changed first, by the same clock.
    assert found.birth_ns == before.st_ctime_ns


@pytest.mark.parametrize("fault", ["no function", "refused", "not told"])
@pytest.mark.skipif(sys.platform != "linux", reason="statx(2) is Linux's")
def test_birth_that_is_not_told_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def statx(*arguments: Any) -> int:
        told = arguments[-1]
        told[:] = (b"\xff" if fault == "refused" else bytes(1)) * 4 + b"\x01" * (len(told) - 4)
        return -1 if fault == "refused" else 0

    monkeypatch.setattr(identity, "_statx", None if fault == "no function" else statx)
    status = tmp_path.stat()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert identify(fd) == (status.st_dev, status.st_ino, None)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ((1, 7, 100), True),
        ((2, 7, 100), True),
        ((1, 7, 101), False),
        ((1, 8, 100), False),
        ((1, 7, None), True),
        ((2, 7, None), False),
        ((1, 8, None), False),
    ],
)
def test_sameness(other: tuple[int, int, int | None], same: bool) -> None:
    one, two = FileIdentity(1, 7, 100), FileIdentity(*other)
    assert is_same(one, two) == is_same(two, one) == same
    nothing_told = one._replace(birth_ns=None)
    assert is_same(nothing_told, two) == (other[:2] == (1, 7))

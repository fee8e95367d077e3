"""Files of both kinds by one interface: opened, refused, read, closed, opened again."""

import os
import socket
from pathlib import Path

import pytest
from unit.publisher.ship.files.compressing import COMPRESS

from publisher.ship.files.readable_file import FileRefused, ReadableFile, open_file, plain_path

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left")

SUFFIXES = ["", *COMPRESS]


def made(path: Path, content: bytes) -> ReadableFile:
    compress = COMPRESS.get(path.suffix)
    path.write_bytes(compress(content) if compress else content)
    return open_file(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_is_read_closed_and_read_again(tmp_path: Path, suffix: str) -> None:
    file = made(tmp_path / f"app.log{suffix}", b"one\ntwo\n")
    assert file.is_compressed == bool(suffix)
    assert file.read(4, 100) == b"two\n"
    assert file.read(8, 100) == b""
    assert not file.ends_early
    for _ in range(2):
        file.close()
    assert not file.ends_early
    assert file.read(0, 3) == b"one"
    assert file.status().st_size == file.path.stat().st_size
    file.close()
    assert file.status().st_ino == file.identity.inode == file.path.stat().st_ino


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_open_file_is_read_on_whatever_becomes_of_its_name(tmp_path: Path, suffix: str) -> None:
    file = made(tmp_path / f"app.log{suffix}", b"one\ntwo\n")
    file.path.unlink()
    assert file.read(0, 100) == b"one\ntwo\n"
    assert file.status().st_nlink == 0
    file.close()
    for call in (lambda: file.read(0, 1), file.status):
        with pytest.raises(FileNotFoundError):
            call()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_closed_file_is_not_taken_for_another_at_its_path(tmp_path: Path, suffix: str) -> None:
    file = made(tmp_path / f"app.log{suffix}", b"one\n")
    file.close()
    old = file.path.rename(tmp_path / f"app.log.1{suffix}")
    made(file.path, b"two\n").close()
    for call in (lambda: file.read(0, 1), file.status):
        with pytest.raises(FileNotFoundError):
            call()
    file.path = old
    assert file.read(0, 100) == b"one\n"
    file.close()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"directory{suffix}").mkdir()
    os.mkfifo(tmp_path / f"pipe{suffix}")
    pattern = tmp_path / f"directory{suffix}" / "*"
    for name, what in (
        ("directory", f"a directory; name its files, as by the pattern '{pattern}'"),
        ("pipe", "a pipe, not a file; send it through standard input, as -"),
    ):
        path = tmp_path / f"{name}{suffix}"
        with pytest.raises(FileRefused) as refused:
            open_file(path)
        assert str(refused.value) == f"cannot read '{path}': it is {what}"
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / f"missing{suffix}")
    below = tmp_path / f"pipe{suffix}" / "below"
    with pytest.raises(FileRefused, match="Not a directory"):
        open_file(below)


def test_devices_and_sockets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="it is a device, not a file; send it through"):
        open_file(Path("/dev/null"))
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.fspath(tmp_path / "socket"))
        with pytest.raises(FileRefused, match=r"'.*socket': No such device"):
            open_file(tmp_path / "socket")


@pytest.mark.parametrize("suffix", COMPRESS)
def test_plain_text_under_the_name_of_an_archive_is_plain(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"app.log{suffix}"
    path.write_bytes(b"plain\n")
    file = open_file(path)
    assert not file.is_compressed
    assert file.read(0, 100) == b"plain\n"
    file.close()


@pytest.mark.parametrize("suffix", COMPRESS)
def test_archive_that_was_just_begun_is_compressed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"app.log{suffix}"
    archive = COMPRESS[suffix](b"one\n")
    for size in range(5):
        path.write_bytes(archive[:size])
        file = open_file(path)
        assert file.is_compressed
        assert file.read(0, 100) == b""
        early = file.ends_early
        path.write_bytes(archive)
        assert file.read(0, 100) == b"one\n"
        assert file.read(4, 100) == b""
        assert (early, file.ends_early) == (True, False)
        file.close()


@pytest.mark.parametrize("suffix", COMPRESS)
def test_archive_under_another_name_is_plain(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(COMPRESS[suffix](b"one\n"))
    file = open_file(path)
    assert not file.is_compressed
    file.close()


def test_plain_path_has_no_suffix_of_an_archive() -> None:
    names = ["app.log.gz", "app.log.1.zst", "app.bz2", "app.log", "app.gz.1", ".gz"]
    assert [plain_path(Path("/x", name)).name for name in names] == [
        "app.log", "app.log.1", "app", "app.log", "app.gz.1", ".gz",
    ]  # fmt: skip


def test_refusal_tells_the_reason_once() -> None:
    path = Path("/x/app.log")
    assert str(FileRefused.of(path, PermissionError(13, "Permission denied"))) == (
        "cannot read '/x/app.log': Permission denied"
    )
    assert str(FileRefused.of(path, FileRefused("a sentence"))) == "a sentence"

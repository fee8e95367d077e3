"""Plain files: any place, far out, and holes at the start."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.ship.files.plain_file import PlainFile, data_start

pytestmark = pytest.mark.usefixtures("no_descriptor_is_left")

_FAR = 3 * 2**30


def start_of(path: Path) -> int:
    file = PlainFile(path)
    try:
        return data_start(file.descriptor())
    finally:
        file.close()


@given(content=st.binary(max_size=300), reads=st.lists(st.tuples(*[st.integers(0, 400)] * 2)))
def test_any_place_has_its_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, reads: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("plain") / "app.log"
    path.write_bytes(content)
    file = PlainFile(path)
    for position, size in reads:
        assert file.read(position, size) == content[position : position + size]
        if not size % 7:
            file.close()
    file.close()


def test_what_grows_is_read_on_behind_two_gib(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    with path.open("wb", buffering=0) as writer:
        writer.seek(_FAR)
        writer.write(b"one\n")
        file = PlainFile(path)
        assert file.read(_FAR, 100) == b"one\n"
        assert file.read(_FAR + 4, 100) == b""
        writer.write(b"two\n")
        assert file.read(_FAR + 4, 100) == b"two\n"
    file.close()
    assert file.read(_FAR + 4, 100) == b"two\n"
    file.close()


def test_read_is_completed_where_a_file_system_returns_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"one\ntwo\n")
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: real(fd, min(size, 3), at))
    file = PlainFile(path)
    assert file.read(1, 6) == b"ne\ntwo"
    assert file.read(1, 100) == b"ne\ntwo\n"
    file.close()


@pytest.fixture(params=["holes are told", "holes are read"])
def holes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems of both kinds."""
    if request.param == "holes are read":

        def refuse(fd: int, position: int, how: int) -> int:
            raise OSError(22, "Invalid argument")

        monkeypatch.setattr(os, "lseek", refuse)


@pytest.mark.usefixtures("holes")
@pytest.mark.parametrize("nuls", [0, 1, 511, 512, 4095, 4096, 4097, 65_536, 200_000])
def test_hole_at_the_start_ends_where_data_begin(tmp_path: Path, nuls: int) -> None:
    path = tmp_path / "app.log"
    for is_sparse in (False, True):
        with path.open("wb") as writer:
            if is_sparse:
                writer.seek(nuls)
            else:
                writer.write(bytes(nuls))
            writer.write(b"x" + bytes(1000))
        assert start_of(path) == (nuls if nuls >= 512 else 0)


@pytest.mark.usefixtures("holes")
@pytest.mark.parametrize("size", [0, 511, 512, 100_000])
def test_hole_with_nothing_behind_it_ends_at_the_end_for_now(tmp_path: Path, size: int) -> None:
    path = tmp_path / "app.log"
    path.touch()
    os.truncate(path, size)
    assert start_of(path) == (size if size >= 512 else 0)


def test_holes_and_nuls_in_turn_are_one_hole(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    with path.open("wb") as writer:
        for position in (65_536, 2_000_000):
            writer.seek(position)
            writer.write(bytes(100))
        writer.seek(2**40)
        writer.write(b"x")
    assert start_of(path) == 2**40


def test_data_written_while_a_hole_is_measured_are_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.log"
    path.touch()
    os.truncate(path, 100_000)
    real = os.lseek

    def written_behind(fd: int, position: int, how: int) -> int:
        try:
            return real(fd, position, how)
        except OSError:
            with path.open("ab") as writer:
                writer.write(b"x" * 5000)
            raise

    monkeypatch.setattr(os, "lseek", written_behind)
    assert start_of(path) == 100_000

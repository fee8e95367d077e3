"""A file that can't be the log is refused with a clear sentence, and left as it is."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.events import event
from support.in_process import InProcessStore

from storage.errors import StorageMisconfigured, StorageUnavailable
from storage.sqlite.schema import APPLICATION_ID

_NOBODY = 65534


async def refused(path: Path) -> str:
    store = InProcessStore(path)
    with pytest.raises(StorageMisconfigured) as caught:
        await store.open()
    with pytest.raises(StorageUnavailable):
        await store.append([event("t", "x")])
    return str(caught.value)


@pytest.mark.parametrize("statement", ["CREATE TABLE notes (x)", "PRAGMA application_id = 7"])
async def test_a_database_of_another_program_is_left_untouched(
    tmp_path: Path, statement: str
) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.close()
    before = path.read_bytes()
    assert "another program" in await refused(path)
    assert path.read_bytes() == before
    assert not path.with_name("other.db-wal").exists()


async def test_a_file_that_is_no_database_is_left_untouched(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    before = path.read_bytes()
    assert "not a database" in await refused(path)
    assert path.read_bytes() == before


async def test_an_empty_file_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    store = InProcessStore(path)
    await store.open()
    await store.aclose()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "log.db"
    assert str(path) in await refused(path)


async def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    assert str(tmp_path) in await refused(tmp_path)


@contextmanager
def without_privileges() -> Iterator[None]:
    """For root no file is read-only, so be somebody else."""
    if os.geteuid():
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def readable_by_all() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


@pytest.mark.parametrize("used_before", [True, False])
async def test_a_read_only_file_is_refused(readable_by_all: Path, used_before: bool) -> None:
    path = readable_by_all / "log.db"
    path.touch()
    if used_before:
        store = InProcessStore(path)
        await store.open()
        await store.aclose()
    path.chmod(0o444)
    with without_privileges():
        assert str(path) in await refused(path)

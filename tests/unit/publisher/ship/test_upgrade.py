"""What version 0.1 has shipped is not shipped again."""

import gzip
import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from support.scripted import Scripted
from unit.publisher.ship.shipping import Shipping, states_of

from publisher.ship import command
from publisher.ship.files.checkpoint import Checkpoint, CheckpointRefused

pytestmark = pytest.mark.usefixtures("nothing_is_left_to_asyncio", "no_descriptor_is_left")

_APPLICATION_ID = 0x5348_4950
_SCHEMA = f"""
CREATE TABLE progress (
    target      TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    content     TEXT    NOT NULL,
    device      INTEGER NOT NULL,
    inode       INTEGER NOT NULL,
    salt        TEXT    NOT NULL,
    position    INTEGER NOT NULL,
    chain       BLOB    NOT NULL,
    fingerprint TEXT    NOT NULL,
    head        BLOB    NOT NULL,
    tail        BLOB    NOT NULL,
    PRIMARY KEY (target, source, content)
);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = 1;
"""
LINES = [b"# heading\n", b"one\r\n", b"two\n", b"\xff\n", b"five\n"]
CONTENT = b"".join(LINES)


class Shipped(NamedTuple):
    """What version 0.1 made of lines: their ids, and the digest behind the last."""

    ids: list[str]
    chain: bytes
    fingerprint: str


def shipped(source: str, lines: list[bytes], salt: str = "") -> Shipped:
    """Make ids as version 0.1 did."""
    chain = hashlib.sha256(f"{source}\0{salt}".encode()).digest()
    ids: list[str] = []
    fingerprint = ""
    position = 0
    for line in lines:
        chain = hashlib.sha256(chain + line).digest()
        digits = chain.hex()[:20]
        fingerprint = fingerprint or digits
        ids.append(f"{fingerprint}-{position:012d}-{digits}")
        position += len(line)
    return Shipped(ids, chain, fingerprint)


def write_version_1(
    state: Path, target: str, file: Path, lines: list[bytes], *, source: str, salt: str = ""
) -> Shipped:
    """Write down, as version 0.1 did, that lines of a file are acknowledged; return their ids."""
    status = file.stat()
    made = shipped(source, lines, salt)
    content = b"".join(lines)
    is_new = not state.exists()
    with closing(sqlite3.connect(state)) as database:
        if is_new:
            database.executescript(_SCHEMA)
        row = (target, source, f"{file}{salt}", status.st_dev, status.st_ino, salt, len(content))
        rest = (made.chain, made.fingerprint, content[:1024], content[-256:])
        database.execute(f"INSERT INTO progress VALUES ({', '.join('?' * 11)})", (*row, *rest))
        database.commit()
    return made


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def rotate(log: Path, content: bytes) -> Path:
    rotated = log.with_name("app.log.1")
    log.rename(rotated)
    log.write_bytes(content)
    return rotated


def compress(file: Path, archive: Path) -> None:
    archive.write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()


def move(file: Path, target: Path) -> None:
    target.parent.mkdir()
    file.rename(target)


def target_of(url: str) -> str:
    return command._shipped_to(Shipping(url).parsed)


@pytest.mark.parametrize("ids", ["host", "source"])
@pytest.mark.parametrize("source", ["app.log", "given"])
@pytest.mark.parametrize("sent", [1, 3, 5])
async def test_a_file_goes_on_with_the_ids_that_it_has(
    server: Scripted, log: Path, state: Path, ids: str, source: str, sent: int
) -> None:
    write_version_1(state, target_of(server.url), log, LINES[:sent], source=source)
    totals = await Shipping(server.url, "--ids", ids).once_with(state, log)
    assert (totals.stored, totals.duplicates) == (len(LINES) - sent, 0)
    assert list(server.log) == shipped(source, LINES).ids[sent:]
    # And again, from the checkpoint as it is now, also under another name of the host.
    with log.open("ab") as file:
        file.write(b"six\n")
    totals = await Shipping(server.url, "--ids", ids, "--host", "web2").once_with(state, log)
    assert (totals.stored, totals.duplicates) == (1, 0)
    assert list(server.log) == shipped(source, [*LINES, b"six\n"]).ids[sent:]


async def test_a_content_that_had_a_number_goes_on_with_it(
    server: Scripted, log: Path, state: Path
) -> None:
    first = log.with_name("app.log.1")
    first.write_bytes(LINES[0])
    target = target_of(server.url)
    write_version_1(state, target, first, LINES[:1], source="app.log")
    write_version_1(state, target, log, LINES[:2], source="app.log", salt="1")
    totals = await Shipping(server.url).once_with(state, log, first)
    assert (totals.stored, totals.duplicates) == (3, 0)
    assert list(server.log) == shipped("app.log", LINES, "1").ids[2:]


async def test_a_file_that_was_renamed_meanwhile_goes_on(
    server: Scripted, log: Path, state: Path
) -> None:
    write_version_1(state, target_of(server.url), log, LINES[:3], source="app.log")
    rotated = rotate(log, b"new\n")
    totals = await Shipping(server.url).once_with(state, log, rotated)
    assert (totals.stored, totals.duplicates) == (3, 0)
    old_ids = shipped("app.log", LINES).ids[3:]
    assert [event_id for event_id in server.log if event_id in old_ids] == old_ids


async def test_a_file_that_was_compressed_meanwhile_goes_on(
    server: Scripted, log: Path, state: Path
) -> None:
    write_version_1(state, target_of(server.url), log, LINES[:3], source="app.log")
    archive = log.with_name("app.log.1.gz")
    compress(log, archive)
    totals = await Shipping(server.url).once_with(state, archive)
    assert (totals.stored, totals.duplicates) == (2, 0)
    assert list(server.log) == shipped("app.log", LINES).ids[3:]


async def test_a_new_content_that_begins_alike_has_other_ids(
    server: Scripted, log: Path, state: Path
) -> None:
    made = write_version_1(state, target_of(server.url), log, LINES, source="app.log")
    other = log.with_name("other.log")
    other.write_bytes(LINES[0])
    totals = await Shipping(server.url, "--ids", "source", "--source", "app.log").once_with(
        state, other
    )
    assert totals.stored == 1
    assert not set(server.log) & set(made.ids)
    assert list(server.log) == shipped("app.log", LINES[:1], "1").ids


async def test_ids_of_the_source_need_no_checkpoint(server: Scripted, log: Path) -> None:
    for position, event_id in enumerate(shipped("app.log", LINES).ids, 1):
        server.log[event_id] = position
    shipping = Shipping(server.url, "--ids", "source")
    totals = await shipping.once(log)
    assert (totals.stored, totals.duplicates) == (0, 5)
    assert b'"source":"app.log"' in server.bodies[0]
    # They are the same on whatever machine and under whatever path.
    elsewhere = log.parent / "elsewhere" / "app.log"
    move(log, elsewhere)
    again = Shipping(server.url, "--ids", "source", "--host", "web2")
    totals = await again.once(elsewhere)
    assert (totals.stored, totals.duplicates) == (0, 5)
    # Those of the host are others.
    totals = await Shipping(server.url).once(elsewhere)
    assert (totals.stored, totals.duplicates) == (5, 0)


async def test_ids_of_the_source_stay_when_the_host_is_renamed(
    server: Scripted, log: Path, state: Path
) -> None:
    await Shipping(server.url, "--ids", "source").once_with(state, log)
    with log.open("ab") as file:
        file.write(b"six\n")
    totals = await Shipping(server.url, "--ids", "source", "--host", "web2").once_with(state, log)
    assert totals.stored == 1
    assert list(server.log) == shipped("app.log", [*LINES, b"six\n"]).ids


async def test_another_host_goes_on_with_ids_of_its_own(
    server: Scripted, log: Path, state: Path
) -> None:
    await Shipping(server.url).once_with(state, log)
    clone = state.with_name("clone")
    shutil.copyfile(state, clone)
    with log.open("ab") as file:
        file.write(b"six\n")
    for host, path in (("web1", state), ("web2", clone)):
        totals = await Shipping(server.url, "--host", host).once_with(path, log)
        assert (totals.stored, totals.duplicates) == (1, 0)
    mine, other = list(server.log)[-2:]
    assert mine.split("-")[1:] == other.split("-")[1:]
    assert mine.split("-")[0] != other.split("-")[0]
    # The same after a crash before it was written down.
    shutil.copyfile(state, clone)
    (known,) = states_of(clone, server.url)
    assert known.host == "web1"
    with log.open("ab") as file:
        file.write(b"seven\n")
    totals = await Shipping(server.url, "--host", "web2").once_with(clone, log)
    assert list(server.log)[-1].split("-")[0] == other.split("-")[0]


def test_taking_over_is_whole_or_not_at_all(
    log: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_version_1(state, "target", log, LINES, source="app.log")
    before = state.read_bytes()

    def fails(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "_prune", fails)
        with (
            pytest.raises(CheckpointRefused, match="disk I/O error"),
            Checkpoint.opened(state, "target"),
        ):
            pass
    assert state.read_bytes() == before
    for target, known in (("target", 1), ("another", 0)):
        with Checkpoint.opened(state, target) as checkpoint:
            assert len(checkpoint.contents()) == known
    with closing(sqlite3.connect(state)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
        assert "progress" not in tables

"""Pages that are damaged on disk are a difference, told in a sentence, whatever holds them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from service.conftest import OwnDatabase
from support.backends import Database
from support.command import Ended, run_to_end
from support.events import event
from support.verifying import execute, fill

PAGE = 4096
BLOCK = 8192
"""Of Postgres."""

EVENTS = [event("orders", f"event-{n:04}", f'{{"n":{n}}}') for n in range(2000)]


def damaged(database: Database, tmp_path: Path) -> Ended:
    """Run it, expect exit status 1 and no traceback."""
    ended = run_to_end("verify", *database.arguments(), cwd=tmp_path)
    assert (ended.code, ended.err) == (1, ""), ended
    assert "difference" in ended.out
    return ended


SPLIT = (
    "DELETE FROM appends",
    'INSERT INTO appends SELECT ts_ingest, topic, "offset", "offset" FROM events',
)
"""A range for each event, so that they are on many pages."""


@pytest.fixture
def file(tmp_path: Path) -> Database:
    """A SQLite file of some hundred pages that nobody has open."""
    database = Database("sqlite", tmp_path / "events.db", "")
    fill(database, EVENTS)
    execute(database, *SPLIT)
    return database


def pages_of(database: Database, name: str) -> list[int]:
    """Where in the file the leaf pages of a table or an index begin."""
    content = database.path.read_bytes()
    starts = range(PAGE, len(content), PAGE)
    # 10 marks a leaf; tables without rowid are kept as indexes are.
    return [at for at in starts if content[at] == 10 and holder_of(content[at : at + PAGE]) == name]


def holder_of(page: bytes) -> str:
    """What a page is of, told by what is in it."""
    if b'{"n":' in page:
        return "events"
    if b"event-" in page:
        return "sqlite_autoindex_events_2"
    return "appends" if page.count(b"orders") > 1 else "topics"


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def replace_once(path: Path, at: int, old: bytes, new: bytes) -> None:
    """Replace a text inside one page."""
    page = path.read_bytes()[at : at + PAGE]
    assert page.count(old) == 1
    overwrite(path, at, page.replace(old, new))


@pytest.mark.parametrize("name", ["events", "sqlite_autoindex_events_2", "appends"])
def test_a_page_of_the_file_that_is_noise_is_a_difference(
    file: Database, tmp_path: Path, name: str
) -> None:
    overwrite(file.path, pages_of(file, name)[1], b"\xa5" * PAGE)
    out = damaged(file, tmp_path).out
    assert "- SQLite" in out
    assert "- the rest could not be read: SQLite: database disk image is malformed" in out
    assert "could not be read to its end" in out


def test_a_page_of_the_counts_that_is_noise_is_a_difference(file: Database, tmp_path: Path) -> None:
    overwrite(file.path, pages_of(file, "topics")[0], b"\xa5" * PAGE)
    assert "SQLite: database disk image is malformed" in damaged(file, tmp_path).out


def test_a_file_cut_short_is_a_difference(file: Database, tmp_path: Path) -> None:
    content = file.path.read_bytes()
    file.path.write_bytes(content[: len(content) // 2])
    assert "SQLite: database disk image is malformed" in damaged(file, tmp_path).out


def test_a_changed_byte_in_an_index_is_a_difference(file: Database, tmp_path: Path) -> None:
    """The file is in order as far as SQLite can tell without looking each row up."""
    page = pages_of(file, "sqlite_autoindex_events_2")[1]
    content = file.path.read_bytes()[page : page + PAGE]
    ids = sorted(e.event_id for e in EVENTS if e.event_id.encode() in content)
    last_of_ten = next(each for each in ids if each.endswith("9"))
    replace_once(file.path, page, last_of_ten.encode(), last_of_ten[:-1].encode() + b"~")
    out = damaged(file, tmp_path).out
    assert "the index (topic, event_id) does not hold what the table holds" in out
    assert "2000 entries, 2000 rows" in out


def test_an_index_that_lost_its_order_is_a_difference(file: Database, tmp_path: Path) -> None:
    page = pages_of(file, "sqlite_autoindex_events_2")[1]
    content = file.path.read_bytes()[page : page + PAGE]
    ids = sorted(e.event_id for e in EVENTS if e.event_id.encode() in content)
    replace_once(file.path, page, ids[0].encode(), b"zzzzz" + ids[0][5:].encode())
    assert "the index (topic, event_id) is out of order at ('orders', " in damaged(
        file, tmp_path
    ).out  # fmt: skip


def test_a_changed_byte_in_a_payload_is_a_difference(file: Database, tmp_path: Path) -> None:
    page = pages_of(file, "events")[1]
    content = file.path.read_bytes()[page : page + PAGE]
    start = content.index(b'{"n":')
    overwrite(file.path, page + start, b"[")
    assert "the payload is not JSON" in damaged(file, tmp_path).out


@pytest.fixture
def on_server(own_database: OwnDatabase, tmp_path: Path) -> Iterator[Database]:
    """The same on a Postgres server that is stopped while its files are changed."""
    database = Database("postgres", tmp_path, own_database.dsn)
    fill(database, EVENTS)
    execute(database, *SPLIT)
    # The row of a writer is deleted by a commit that is not flushed. Until it is, Postgres does not
    # take transactions next to it for committed beyond doubt, and no page for all-visible.
    execute(database, "CHECKPOINT", "VACUUM (FREEZE, ANALYZE) events", "CHECKPOINT")
    yield database
    own_database.server.start()


def path_of(own_database: OwnDatabase, relation: str) -> Path:
    """The file of a table or an index."""
    (path,) = own_database.server.data.glob(f"base/*/{number_of(own_database, relation)}")
    return path


def number_of(own_database: OwnDatabase, relation: str) -> str:
    noted = own_database.server.data / "noted"
    own_database.execute(f"COPY (SELECT pg_relation_filenode('{relation}')) TO '{noted}'")
    return noted.read_text().strip()


@pytest.mark.parametrize(
    "relation",
    ["events", "events_pkey", "events_topic_event_id_key", "appends", "appends_pkey"],
)
def test_a_page_on_the_server_that_is_noise_is_a_difference(
    own_database: OwnDatabase, on_server: Database, tmp_path: Path, relation: str
) -> None:
    path = path_of(own_database, relation)
    own_database.server.stop()
    overwrite(path, 2 * BLOCK, b"\xa5" * BLOCK)
    own_database.server.start()
    out = damaged(on_server, tmp_path).out
    assert "- the rest could not be read: Postgres: " in out
    assert "could not be read to its end" in out


def test_a_file_of_the_server_that_is_gone_is_a_difference(
    own_database: OwnDatabase, on_server: Database, tmp_path: Path
) -> None:
    path = path_of(own_database, "appends_pkey")
    own_database.server.stop()
    path.rename(tmp_path / "gone")
    own_database.server.start()
    try:
        assert "Postgres: could not open file" in damaged(on_server, tmp_path).out
    finally:
        own_database.server.stop()
        (tmp_path / "gone").rename(path)


def test_a_page_of_zeros_is_a_difference(
    own_database: OwnDatabase, on_server: Database, tmp_path: Path
) -> None:
    """To Postgres such a page is an empty one: nothing but counting tells."""
    path = path_of(own_database, "events")
    own_database.server.stop()
    overwrite(path, 2 * BLOCK, bytes(BLOCK))
    own_database.server.start()
    out = damaged(on_server, tmp_path).out
    assert "are missing" in out
    assert "the index (topic, event_id) does not hold what the table holds: 2000 entries" in out

"""Damaged pages: a publish that comes upon one is refused, and so is everything after it."""

import itertools
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.events import event
from support.in_process import InProcessStore
from support.load import (
    Told,
    batch_of,
    get_json,
    publish,
    session,
    until_answer,
)
from support.processes import Aggregator
from support.sqlite_pages import overwrite_page, page_bytes, tree
from support.sqlite_process import arguments, refusal

Run = Callable[..., Aggregator]
KEYS = "sqlite_autoindex_events_2"
EVENTS = 1600
FILLINGS = {
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "noise": random.Random(4).randbytes(4096),
    # The beginning says: a leaf of an index, with 64 cells.
    "a leaf of noise": b"\x0a\0\0\0\x40\x10\0\0" + random.Random(5).randbytes(4088),
}


RANGE_FOR_EACH_EVENT = 'INSERT INTO appends SELECT ts_ingest, topic, "offset", "offset" FROM events'


async def log_of_some_pages(path: Path) -> Told:
    """A database that was closed in order, with a few leaves in every tree."""
    store = InProcessStore(path)
    await store.open()
    told = Told()
    for topic in ("orders", "visits"):
        batch = [event(topic, f"{n:04}", '{"total":42}') for n in range(EVENTS)]
        for verdict in (await store.append(batch)).verdicts:
            told.offsets[verdict.topic, verdict.event_id] = verdict.offset
    await store.aclose()
    return told


def damage(path: Path, where: str, content: bytes) -> None:
    """Overwrite a page: the root, or a leaf in the middle, of a table or an index."""
    name, part = where.split(":")
    found = tree(path, name)
    page = found.root if part == "root" else found.leaves[len(found.leaves) // 2]
    assert page_bytes(path) == len(content)
    overwrite_page(path, page, content)


def overwrite_header(path: Path) -> None:
    """As if the file began with something else."""
    with path.open("r+b") as file:
        file.write(b"Dear Sir or Madam, " * 5)


@pytest.mark.parametrize(
    ("where", "filling"),
    [
        *itertools.product(["events:leaf", f"{KEYS}:leaf"], FILLINGS),
        ("topics:root", "zeros"),
        ("events:root", "ones"),
        (f"{KEYS}:root", "noise"),
    ],
)
async def test_a_damaged_page_gives_503s_and_never_a_wrong_verdict(
    run_aggregator: Run, tmp_path: Path, where: str, filling: str
) -> None:
    path = tmp_path / "log.db"
    told = await log_of_some_pages(path)
    aggregator = run_aggregator(*arguments(path))
    url = aggregator.url
    # Under the running process; nothing of it has been read yet.
    damage(path, where, FILLINGS[filling])
    async with session() as client:
        keys = sorted(told.offsets)
        for start in range(0, len(keys), 25):
            topic = keys[start][0]
            batch = batch_of(topic, [event_id for _, event_id in keys[start : start + 25]])
            # `told` checks that each is where it was.
            if await publish(client, url, batch, told) == 503:
                break
        else:
            raise AssertionError("no publish came upon the damage")
        await until_answer(client, f"{url}/ready", 503, "is damaged")
        # Beside the damage, too: what else is damaged nobody knows.
        assert await publish(client, url, batch_of("elsewhere", ["new"]), told) == 503
        problem = await get_json(client, f"{url}/ready", status=503)
        assert "malformed" in problem["detail"]
        assert "restore" in problem["detail"]
        for reading in ("stats", "events?topic=orders&after=0", "events?topic=visits"):
            async with client.get(f"{url}/{reading}") as response:
                assert response.status in {200, 503}
    assert len(aggregator.log_lines("storage_available")) == 1, "it was said to be back"
    assert b"Traceback" not in aggregator.written()
    assert aggregator.stop() == 0


async def test_a_read_that_comes_upon_damage_ends_the_writing(
    run_aggregator: Run, tmp_path: Path
) -> None:
    path = tmp_path / "log.db"
    await log_of_some_pages(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM appends")
        connection.execute(RANGE_FOR_EACH_EVENT)
    aggregator = run_aggregator(*arguments(path))
    url, told = aggregator.url, Told()
    # No publish ever looks there.
    damage(path, "appends:leaf", FILLINGS["zeros"])
    async with session() as client:
        assert await publish(client, url, batch_of("orders", ["new"]), told) == 200
        problem = await get_json(client, f"{url}/events?limit=5000", status=503)
        assert "malformed" in problem["detail"]
        assert await publish(client, url, batch_of("orders", ["newer"]), told) == 503
        await until_answer(client, f"{url}/ready", 503, "is damaged")
        assert (
            len(await get_json(client, f"{url}/events?topic=orders&after=0&limit=5000"))
            == EVENTS + 1
        )
    assert b"Traceback" not in aggregator.written()


async def test_started_on_a_damaged_file_it_says_so(run_aggregator: Run, tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await log_of_some_pages(path)
    whole = content(path)
    overwrite_header(path)
    assert "file is not a database" in refusal(path, tmp_path / "header.log")
    put(path, whole)
    overwrite_page(path, 1, whole[:100] + b"\xff" * 8092)
    sentence = refusal(path, tmp_path / "schema.log")
    assert "malformed" in sentence
    assert "restore it" in sentence
    put(path, whole)
    assert run_aggregator(*arguments(path)).stop() == 0


def content(path: Path) -> bytes:
    """All of it."""
    return path.read_bytes()


def put(path: Path, content: bytes) -> None:
    """Write it anew."""
    path.write_bytes(content)

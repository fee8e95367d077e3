"""`python -m aggregator verify`: what it prints, also of a database in use and on a terminal."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.backends import Database
from support.command import Ended, environment, on_terminal, run_to_end
from support.load import Told, batch_of, publish, session
from support.processes import Aggregator
from support.verifying import ORDERS, RECORD, SHIPMENTS, SOUND, execute, fill

from aggregator.settings.model import Settings
from aggregator.settings.storage import VerifySettings

BUFFERED = environment({"PYTHONUNBUFFERED": ""})
"""What is printed waits until the end, as it does for most people."""


def names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


def test_a_sound_database_is_a_table_and_exit_status_0(database: Database, tmp_path: Path) -> None:
    fill(database, ORDERS, SHIPMENTS)
    assert run_to_end("verify", *database.arguments(), cwd=tmp_path) == Ended(0, SOUND, "")


def test_differences_are_exit_status_1(database: Database, tmp_path: Path) -> None:
    fill(database, ORDERS, SHIPMENTS)
    execute(database, "DELETE FROM topics WHERE topic = 'orders'")
    ended = run_to_end("verify", *database.arguments(), cwd=tmp_path)
    assert (ended.code, ended.err) == (1, "")
    assert ended.out == (
        "topic      received  unique_processed  duplicate_dropped  conflicts  rows  head_offset  "
        "verdict\n"
        "orders            -                 -                  -          -     3            3  "
        "1 difference\n"
        "shipments         2                 2                  0          0     2            2  "
        "ok\n"
        "total             2                 2                  0          0     5               "
        "1 difference\n"
        "\n"
        "1 difference:\n"
        "- topic 'orders': 3 rows are there, but no counts\n"
        "\n"
        "The database does not agree with itself: 5 rows in 2 topics recounted in one snapshot.\n"
    )


def test_many_differences_are_counted_and_not_all_told(database: Database, tmp_path: Path) -> None:
    fill(database, *([event] for event in SHIPMENTS))
    execute(database, "DELETE FROM topics", "DELETE FROM appends")
    numbers = " UNION ALL ".join(f"SELECT {n} AS n" for n in range(124))
    execute(
        database,
        "INSERT INTO events SELECT topic || '-' || n, \"offset\", event_id, timestamp, ts_ingest, "
        f"source, payload FROM events CROSS JOIN ({numbers}) AS numbers",
        *RECORD,
    )
    ended = run_to_end("verify", *database.arguments(), cwd=tmp_path)
    assert ended.code == 1
    lines = ended.out.splitlines()
    assert "125 differences:" in lines
    assert sum(line.startswith("- topic ") for line in lines) == 100
    assert "- and 25 more" in lines


async def test_a_database_in_use_agrees_each_time(
    database: Database, tmp_path: Path, run_aggregator: Callable[..., Aggregator]
) -> None:
    urls = [run_aggregator(*database.arguments()).url for _ in range(2)]
    told = Told()
    ended = asyncio.Event()

    async def load(publisher: int) -> None:
        number = 0
        async with session() as client:
            while not ended.is_set():
                # Every second batch repeats what another publisher sends.
                ids = [f"{publisher * (number % 2)}-{number}-{n}" for n in range(20)]
                batch = batch_of(f"topic-{number % 7}", ids)
                assert await publish(client, urls[publisher % 2], batch, told) == 200
                number += 1

    async def consume(consumer: int) -> None:
        """Acknowledge some of each lease, retry one, give up one, and leave the rest to time."""
        url = f"{urls[consumer % 2]}/subscriptions/billing"
        request = {"consumer": f"worker-{consumer}", "max_events": 50, "wait_ms": 100}
        async with session() as client:
            while not ended.is_set():
                async with client.post(f"{url}/lease", json=request) as response:
                    leased = await response.json()
                    assert response.status == 200, leased
                events = [each["event"] for each in leased["deliveries"]]
                if len(events) < 3:
                    continue
                failed, poison, *good = events
                what = {
                    "lease": leased["lease"],
                    "retry": [{"topic": failed["topic"], "offset": failed["offset"], "error": "x"}],
                    "dead": [{"topic": poison["topic"], "offset": poison["offset"]}],
                    "ack": [[each["topic"], each["offset"], each["offset"]] for each in good[::2]],
                }
                async with client.post(f"{url}/settle", json=what) as response:
                    assert response.status in {200, 409}, await response.text()

    settings = {
        "topics": ["*"], "from": "start", "order": "none", "lease_ms": 1000,
        "backoff_ms": [0], "stop_after_dead": None,
    }  # fmt: skip
    made_at = f"{urls[0]}/subscriptions/billing"
    async with session() as client, client.put(made_at, json=settings) as made:
        assert made.status == 201, await made.text()
    rows, settled = [], []
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(load(number))
        for number in range(2):
            group.create_task(consume(number))
        try:
            for _ in range(3):
                arguments = ("verify", *database.arguments())
                one = await asyncio.to_thread(run_to_end, *arguments, cwd=tmp_path)
                assert (one.code, one.err) == (0, ""), one
                rows.append(total_rows(one))
                settled.append(sum(settled_events(one)))
        finally:
            ended.set()
    assert 0 < rows[0] < rows[-1]
    assert rows == sorted(rows)
    assert 0 < settled[0] < settled[-1]
    assert settled == sorted(settled)
    assert all(settled_events(one))


def settled_events(ended: Ended) -> tuple[int, int]:
    """How many are acknowledged, and how many dead."""
    (line,) = (line for line in ended.out.splitlines() if line.startswith("billing"))
    _, _, acknowledged, dead, *_ = line.split()
    return int(acknowledged), int(dead)


def total_rows(ended: Ended) -> int:
    (total,) = (line for line in ended.out.splitlines() if line.startswith("total"))
    return int(total.split()[5])


def test_its_help_lists_what_applies_and_nothing_else(tmp_path: Path) -> None:
    ended = run_to_end("verify", "--help", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert "usage: python -m aggregator verify " in ended.out
    for name in Settings.options():
        option = "--" + name.replace("_", "-")
        assert (option in ended.out) == (name in VerifySettings.options()), option
    assert set(VerifySettings.options()) == {"backend", "database", "dsn", "schema"}


def test_the_help_of_the_aggregator_tells_of_it(tmp_path: Path) -> None:
    assert "python -m aggregator verify --help" in run_to_end("--help", cwd=tmp_path).out


def test_the_environment_names_the_database_too(tmp_path: Path) -> None:
    fill(Database("sqlite", tmp_path / "events.db", ""), ORDERS, SHIPMENTS)
    for env in ({"AGGREGATOR_DATABASE": "events.db"}, {"DATABASE_URL": "sqlite:///events.db"}):
        assert run_to_end("verify", cwd=tmp_path, env=env) == Ended(0, SOUND, "")


def test_a_variable_that_is_no_setting_is_told(tmp_path: Path) -> None:
    fill(Database("sqlite", tmp_path / "events.db", ""), ORDERS, SHIPMENTS)
    env = {"AGGREGATOR_DATABASE": "events.db", "AGGREGATOR_DATABSE": "x", "AGGREGATOR_PORT": "x"}
    told = (
        "aggregator: the variable AGGREGATOR_DATABSE is ignored: no setting is called so; "
        "did you mean AGGREGATOR_DATABASE?\n"
    )
    assert run_to_end("verify", cwd=tmp_path, env=env) == Ended(0, SOUND, told)


@pytest.mark.parametrize(("to", "reason"), [(">&-", "closed"), (">/dev/full", "No space left")])
def test_a_standard_output_that_fails_is_one_sentence(tmp_path: Path, to: str, reason: str) -> None:
    database = Database("sqlite", tmp_path / "events.db", "")
    fill(database, ORDERS)
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {to}', "sh", sys.executable, "-m", "aggregator", "verify",
         *database.arguments()],
        cwd=tmp_path, env=BUFFERED, stderr=subprocess.PIPE, timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.count(b"\n") == 1, ended.stderr
    assert reason.encode() in ended.stderr


def test_a_reader_that_has_enough_is_one_sentence(tmp_path: Path) -> None:
    database = Database("sqlite", tmp_path / "events.db", "")
    fill(database, ORDERS)
    process = subprocess.Popen(
        [sys.executable, "-m", "aggregator", "verify", *database.arguments()],
        cwd=tmp_path, env=BUFFERED, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b"aggregator: can't write to standard output: Broken pipe\n"
    assert process.wait(30) == 2
    process.stderr.close()


@pytest.fixture
def many(tmp_path: Path) -> Database:
    """A database that takes some seconds to recount."""
    database = Database("sqlite", tmp_path / "many.db", "")
    fill(database)
    execute(
        database,
        "INSERT INTO events WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n "
        "WHERE n < 200000) SELECT 't', n, 'e-' || n, n, n, 's', '{}' FROM n",
        "INSERT INTO topics VALUES ('t', 200000, 200000, 0, 0, 200000)",
        *RECORD,
    )
    return database


def test_a_terminal_gets_a_bar_that_leaves_nothing_behind(many: Database, tmp_path: Path) -> None:
    with on_terminal("verify", *many.arguments(), cwd=tmp_path) as running:
        running.wait_for_text("rows/s")
        running.wait_for_text("Everything agrees: 200,000 rows in 1 topic recounted")
        assert running.process.wait(30) == 0
    lines = [line.rsplit("\r", 1)[-1] for line in running.text.split("\n")]
    assert [line.split()[0] for line in lines if line.strip()] == [
        "topic", "t", "total", "Everything",
    ]  # fmt: skip


def test_ctrl_c_is_one_sentence(many: Database, tmp_path: Path) -> None:
    with on_terminal("verify", *many.arguments(), cwd=tmp_path) as running:
        running.wait_for_text("values")
        assert running.stop(signal.SIGINT) == 2
    assert running.text.endswith("aggregator: interrupted before the end; nothing is known\n")
    assert names(tmp_path) == ["many.db"]

"""Every part of the benchmark runs, checks what it counted, and writes what it found."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.backends import PostgresServer

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks import matrix, peer_jetstream, processor, standard, start
from benchmarks.databases import postgres_databases
from benchmarks.measuring import Sent, WrongCounts
from benchmarks.rounds import Setting
from benchmarks.tables import table
from benchmarks.workload import Workload

ROOT = Path(__file__).parents[2]
SHORT = ["--rounds", "1", "--events", "2100", "--stored", "1000"]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(postgres_server: PostgresServer, tmp_path: Path) -> Run:
    """Runs a part shortly; figures go to `tmp_path`."""

    def run(part: str, **environment: str) -> subprocess.CompletedProcess[str]:
        options = [*SHORT, "--out", str(tmp_path), "--dsn", postgres_server.dsn]
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks", part, *options],
            cwd=ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended

    return run


def figures(directory: Path, part: str) -> dict[str, Any]:
    """What was written of it; everything measured is more than nothing."""
    written = json.loads((directory / "figures.json").read_text())
    assert written["command"].startswith(f"python -m benchmarks {part} --rounds 1")
    assert written["command"].endswith("--dsn DSN"), "a password may be in it"
    assert {"processor", "cores", "Python", "SQLite", "Postgres"} <= written["machine"].keys()
    found: dict[str, Any] = written["parts"][part]["measurements"]
    assert all(each["events_s"] > 0 for many in found.values() for each in many)
    return found


def test_the_standard_workload_is_measured_beside_its_ceilings(run: Run, tmp_path: Path) -> None:
    said = run("standard").stdout
    assert len(figures(tmp_path, "standard")) == 8
    assert "| SQLite, single events / bare aiohttp handler, single events |" in said
    assert "| not measured: the part growth was not run |" in said
    assert (tmp_path / "throughput.png").stat().st_size > 10_000


@pytest.mark.long
async def test_changed_workloads_and_reads_are_measured_and_counted(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {row.name: row for row in matrix.ROWS}
    # The others differ in numbers alone; these are the standard one and the extremes.
    chosen = [rows[name] for name in ("standard", "batches of 1", "payloads of 50 kB")]
    monkeypatch.setattr(matrix, "ROWS", chosen)
    postgres = postgres_databases(postgres_server.dsn)
    part = await matrix.measure(Setting(1, 2100, 0, postgres, lambda _: None))
    # Each with its ceilings, and two and three aggregators; two kinds of writes and three of reads.
    assert len(part.measurements) == 3 * 5 + 2 + 2 * 5
    reads = [each for name, (each,) in part.measurements.items() if ", reads of" in name]
    assert len(reads) == 2 * 3
    assert all(each.reads_s is not None and each.reads_s > 0 for each in reads)
    assert all(len(part.ratios(*pair)) == 1 for pair in part.beside)
    assert "| standard: SQLite / standard: bare SQLite |" in table(part)
    assert "| payloads of 50 kB | " in part.overview


@pytest.mark.long
def test_growth_is_measured_at_every_fifth_beside_empty_databases(run: Run, tmp_path: Path) -> None:
    run("growth")
    found = figures(tmp_path, "growth")
    for name in ("Postgres, uuid4, up to 1,000 stored", "SQLite, uuid7, the first 200"):
        (stretch,) = found[name]
        assert stretch["resident_mib"] > 0
        assert stretch["bytes_per_event"] > 0
    assert len([name for name in found if ", empty, beside " in name]) == 2 * 5
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_latency_is_told_with_how_late_requests_left(run: Run, tmp_path: Path) -> None:
    run("latency")
    found = figures(tmp_path, "latency")
    assert len(found) == 6
    (half,) = found["Postgres, half of it"]
    assert half["max_ms"] >= half["p99_ms"] >= half["p50_ms"] > 0
    assert half["late_p99_ms"] > 0
    assert (tmp_path / "latency.png").stat().st_size > 10_000


def test_the_peers_are_measured_where_they_are_installed(run: Run, tmp_path: Path) -> None:
    said = run("peers", PATH=str(tmp_path)).stdout
    found = figures(tmp_path, "peers")
    assert {"SQLite, batches of 100", "Postgres, batches of 100"} <= found.keys()
    assert not any("JetStream" in name for name in found)
    assert "| not measured: nats-server is not installed | at least 2 |" in said
    inserts = "an insert an event, batches of 50"
    assert inserts in found or f"{inserts}: not measured: not installed: " in said


async def test_processor_time_includes_the_database_server_and_needs_another_checkout(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = postgres_databases(postgres_server.dsn)
    setting = Setting(1, 2100, 0, postgres, lambda _: None)
    alone = await processor.measure(setting)
    assert not alone.measurements
    assert "--against" in alone.missing[standard.POSTGRES]

    monkeypatch.setattr(processor, "BACKENDS", processor.BACKENDS[1:])
    monkeypatch.setattr(processor, "single_events", lambda _events: 300)
    part = await processor.measure(setting._replace(against=ROOT))
    for name in (standard.POSTGRES, processor.before(standard.POSTGRES)):
        (measured,) = part.measurements[name]
        assert measured.all_cpu_s_per_million is not None
        assert measured.cpu_s_per_million is not None
        assert measured.all_cpu_s_per_million > measured.cpu_s_per_million > 0
    (ratio,) = part.ratios(
        standard.POSTGRES, processor.before(standard.POSTGRES), "all_cpu_s_per_million"
    )
    assert ratio > 0


async def test_the_time_to_be_ready_is_measured_beside_another_checkout(
    postgres_server: PostgresServer,
) -> None:
    said: list[str] = []
    setting = Setting(1, 1, 0, postgres_databases(postgres_server.dsn), said.append)
    alone = await start.measure(setting)
    assert set(alone.measurements) == {start.NAME}
    assert "--against" in alone.missing[start.BEFORE]
    part = await start.measure(setting._replace(against=ROOT))
    (ratio,) = part.ratios(start.NAME, start.BEFORE, "start_ms")
    assert ratio > 0
    assert said[-1].startswith(f"{start.BEFORE}: ")
    assert said[-1].endswith(" ms")


async def test_jetstream_holds_what_was_new_of_what_was_sent() -> None:
    if why := peer_jetstream.missing():
        pytest.skip(why)
    sent = Sent.make(Workload(), 1_000)
    assert 0 < sent.new < sent.events
    assert (await peer_jetstream.publish(sent, sync=False)).events_s > 0
    lost = sent._replace(batches=[sent.batches[0]._replace(new=0), *sent.batches[1:]])
    with pytest.raises(WrongCounts, match="messages are stored"):
        await peer_jetstream.publish(lost, sync=False)

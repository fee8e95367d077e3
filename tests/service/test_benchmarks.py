"""Every part of the benchmark runs, checks what it counted, and writes what it found."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from support.backends import PostgresServer

sys.path.append(str(Path(__file__).parents[2]))
from benchmarks import (
    bare_reading,
    child,
    matrix,
    peer_jetstream,
    peer_jetstream_reading,
    processor,
    read_memory,
    reading,
    ship,
    standard,
    start,
    stored_topic,
    stream_fanout,
    stream_idling,
    streams,
)
from benchmarks.databases import postgres_databases, sqlite_file
from benchmarks.driving import connect, get
from benchmarks.measuring import Sent, WrongCounts
from benchmarks.rounds import Setting
from benchmarks.tables import table
from benchmarks.targets import TARGETS, reach
from benchmarks.workload import Workload, batches

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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
async def test_shipping_is_measured_beside_another_checkout(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship, "FILES", 20)
    monkeypatch.setattr(ship, "SETTLING_S", 0.1)
    monkeypatch.setattr(ship, "LASTS_S", 0.3)
    setting = Setting(1, 2100, 0, postgres_databases(postgres_server.dsn), lambda _: None)
    alone = await ship.measure(setting._replace(rounds=0))
    assert "--against" in alone.missing[ship.before(ship.LARGE)]
    part = await ship.measure(setting._replace(against=ROOT))
    for name in ship.ONCE:
        (ratio,) = part.ratios(name, ship.before(name), "generator_cpu_s_per_million")
        assert ratio > 0
    for name in ship.FOLLOWED:
        for each in (name, ship.before(name)):
            (measured,) = part.measurements[each]
            assert measured.shipper_cpu_s is not None


@pytest.mark.long
async def test_reading_is_measured_beside_another_checkout_and_says_what_is_missing(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BACKENDS", ("SQLite",))
    monkeypatch.setattr(reading, "MEMORY", {})
    monkeypatch.setattr(peer_jetstream, "missing", lambda: "it is not wanted here")
    postgres = postgres_databases(postgres_server.dsn)
    part = await reading.measure(Setting(1, 2100, 0, postgres, lambda _: None, ROOT))
    for what in (*reading.WALKS, reading.PUBLISHING):
        name = reading.on("SQLite", what)
        (ratio,) = part.ratios(name, reading.before(name))
        assert ratio > 0
    pages = reading.on("SQLite", reading.WAYS["pages"])
    for ceiling in (reading.bare("SQLite"), reading.bare_parsed("SQLite")):
        (ratio,) = part.ratios(pages, ceiling)
        assert ratio > 0
    assert part.missing[reading.JETSTREAM] == "it is not wanted here"


@pytest.mark.long
def test_reading_is_measured_whole(run: Run, tmp_path: Path) -> None:
    said = run("reading").stdout
    found = figures(tmp_path, "reading")
    for backend in reading.BACKENDS:
        assert reading.bare(backend) in found
        (memory,) = found[reading.on(backend, reading.MEMORY["pages"])]
        assert memory["resident_mib"] > 20
        before = reading.before(reading.on(backend, reading.SERVER_SIDE))
        assert f"{before}: not measured: there is nothing to compare with" in said
        assert (
            f"| {backend}, MiB of all processes while 20 clients read payloads of 1 MiB |" in said
        )


async def test_the_bare_engine_builds_what_the_service_answers(tmp_path: Path) -> None:
    async with stored_topic.store({"SQLite": sqlite_file}, [ROOT], 300, 0) as stored:
        (server,) = stored.servers.values()
        (connection,) = await connect([server.port], 1)
        status, page = await connection.exchange(get("/events?topic=topic-0&after=0&limit=300"))
        connection.close()
        rows = chain.from_iterable(bare_reading.sqlite_rows(stored.bare["SQLite"]))
        lines = bare_reading.build(rows).splitlines()
        with pytest.raises(RuntimeError, match="ended with status 1"):
            await child.run("bare_reading", "sqlite", stored.bare["SQLite"], 301, "build")
    assert status == 200
    served = page[1:-1].replace(b'"},{"topic"', b'"}\n{"topic"').splitlines()
    assert len(served) == len(lines) == 300
    # Batches may be stored in another order than they were made.
    own = re.compile(rb'"offset":\d+,"ts_ingest":"[^"]{27}"}$')
    assert all(own.search(line) for line in served + lines)
    assert sorted(own.sub(b"", line) for line in served) == sorted(
        own.sub(b"", line) for line in lines
    )


async def test_large_payloads_are_read_by_all_clients() -> None:
    measured = await read_memory.measure(sqlite_file, 2, "pages")
    assert measured.events_s > 0
    assert measured.resident_mib is not None
    assert measured.high_water_mib is not None
    assert 20 < measured.resident_mib < 1.1 * measured.high_water_mib


async def test_a_jetstream_consumer_reads_every_message() -> None:
    if why := peer_jetstream.missing():
        pytest.skip(why)
    rows = [row for batch in batches(stored_topic.WORKLOAD, 1_500) for row in batch.rows]
    with peer_jetstream.server(sync=False) as url:
        await peer_jetstream_reading.fill(url, rows)
        for _ in range(2):
            assert (await child.run("peer_jetstream_reading", url, 1_500))["seconds"] > 0


async def test_jetstream_holds_what_was_new_of_what_was_sent() -> None:
    if why := peer_jetstream.missing():
        pytest.skip(why)
    sent = Sent.make(Workload(), 1_000)
    assert 0 < sent.new < sent.events
    assert (await peer_jetstream.publish(sent, sync=False)).events_s > 0
    lost = sent._replace(batches=[sent.batches[0]._replace(new=0), *sent.batches[1:]])
    with pytest.raises(WrongCounts, match="messages are stored"):
        await peer_jetstream.publish(lost, sync=False)


@pytest.mark.long
async def test_streams_are_measured_beside_their_ceilings(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BACKENDS", ("SQLite",))
    monkeypatch.setattr(stream_fanout, "READERS", 5)
    monkeypatch.setattr(stream_idling, "STREAMS", 60)
    monkeypatch.setattr(stream_idling, "IN_MEMORY", 60)
    monkeypatch.setattr(stream_idling, "OPENED_OVER_S", 0.1)
    postgres = postgres_databases(postgres_server.dsn)
    part = await streams.measure(Setting(1, 2100, 0, postgres, lambda _: None))
    assert not part.missing
    assert all(len(part.ratios(*pair)) == 1 for pair in part.beside)
    wanted = [each for each in TARGETS if each.part == "streams" and "SQLite" in each.of]
    reached = reach({"streams": part}, wanted)
    assert len(reached) == 6
    for each in reached:
        assert [ratio > 0 for ratio in each.ratios] == [True], each
    (memory,) = part.measurements[streams.on("SQLite", streams.IDLE)]
    assert memory.stream_kib is not None
    assert 5 < memory.stream_kib < 100

"""The benchmark runs, checks what it counted, and tells ratios."""

import json
import subprocess
import sys
from pathlib import Path

from support.backends import PostgresServer

ROOT = Path(__file__).parents[2]


def test_a_short_run_measures_each_figure_beside_its_ceiling(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--rounds", "1", "--events", "2100", "--json", str(out)]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments, "--dsn", postgres_server.dsn],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    measured = json.loads(out.read_text())["measurements"]
    assert len(measured) == 7
    assert all(each["events_s"] > 0 for many in measured.values() for each in many)
    assert "| SQLite, single events / bare aiohttp handler, single events |" in ended.stdout

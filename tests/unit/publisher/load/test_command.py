"""What makes the command impossible is one sentence on stderr and status 2, before it sends."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.sockets import port_of, reserved_port

from publisher.__main__ import main

ROOT = Path(__file__).parents[4]


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "publisher", "load", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (env or {}),
    )


def assert_refused(status: int, out: str, err: str, sentence: str) -> None:
    assert status == 2
    assert out == ""
    assert err.startswith("python -m publisher load: ")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--url", "ftp://127.0.0.1", "not an http or https URL"),
        ("--events", "0", "not a whole number from 1 to 100,000,000"),
        ("--duplicates", "1", "not a share from 0 to below 1"),
        ("--duplicates", "nan", "not a share from 0 to below 1"),
        ("--conflicts", "-0.1", "not a share from 0 to below 1"),
        ("--conflicts", "0.7", "leave none of 20,000 events that is new"),
        ("--batch", "10001", "not a whole number from 1 to 10,000"),
        ("--concurrency", "0", "not a whole number from 1 to 10,000"),
        ("--topics", "a,,b", "'' is not 1 to 249 characters"),
        ("--topics", "a,b,a", "names a topic twice"),
        ("--topics", ",".join(map(str, range(1001))), "1,001 topics are more than 1,000"),
        ("--rate", "0", "not a number of events a second above 0"),
        ("--payload-bytes", "119", "not a whole number from 120 to 1,048,576"),
        ("--ids", "guid", "invalid choice"),
        ("--seed", "x", "not a whole number from 0"),
        ("--run", "a b", "not 1 to 100 characters"),
        ("--deadline", "0", "not a number of seconds above 0"),
        ("--chart", "chart.pdf", "does not end in .html or .png"),
        ("--chart", "/nowhere/a.png", "--chart: '/nowhere/a.png' cannot be written"),
        ("--json", "/nowhere/a.json", "--json: '/nowhere/a.json' cannot be written"),
        ("--json", "/", "--json: '/' is a directory"),
    ],
)
def test_invalid_options_are_refused(
    option: str, value: str, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        status: object = main(["load", option, value])
    except SystemExit as error:
        status = error.code
    out, err = capfd.readouterr()
    assert isinstance(status, int)
    assert_refused(status, out, err, sentence)


@pytest.mark.usefixtures("processes")
def test_without_an_aggregator_it_does_not_start() -> None:
    with reserved_port() as reserved:
        url = f"http://127.0.0.1:{port_of(reserved)}"
        done = run("--url", url, "--deadline", "0.2")
    sentence = f"cannot connect to {url}: Connection refused"
    assert_refused(done.returncode, done.stdout, done.stderr, sentence)


@pytest.mark.usefixtures("processes")
def test_without_matplotlib_a_chart_is_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not installed')\n")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = run("--chart", str(tmp_path / "c.png"), env=env)
    sentence = "pip install matplotlib"
    assert_refused(done.returncode, done.stdout, done.stderr, sentence)


@pytest.mark.usefixtures("processes")
def test_the_options_are_those_of_the_documentation() -> None:
    help_text = " ".join(run("--help").stdout.split())
    page = (ROOT / "docs" / "develop" / "load.md").read_text()
    cells = [line.split("|")[1] for line in page.splitlines() if line[:4] == "| `-"]
    options = re.findall("--[a-z-]+", "".join(cells))
    assert len(options) == 20
    assert all(f" {option} " in help_text for option in options)
    assert help_text.count("[--") == len(options)

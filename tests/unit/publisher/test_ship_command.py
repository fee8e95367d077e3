"""What makes the command impossible is one sentence on stderr and status 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run(*arguments: str | bytes | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "publisher", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_refused(result: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("python -m publisher")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_text("start\n")
    return path


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--url", "ftp://127.0.0.1", "not an http or https URL"),
        ("--url", "127.0.0.1:8080", "not an http or https URL"),
        ("--url", "http://", "not an http or https URL"),
        ("--url", "http://host:99999", "not an http or https URL"),
        ("--url", "http://a..b", "not an http or https URL"),
        ("--url", "http://[::1", "not an http or https URL"),
        ("--url", "http://host/?topic=a", "not an http or https URL"),
        ("--url", "http://ho st", "not an http or https URL"),
        ("--topic", "", "not 1 to 249 characters"),
        ("--topic", "a" * 250, "not 1 to 249 characters"),
        ("--topic", "logs\n", "not 1 to 249 characters"),
        ("--topic", "lög", "not 1 to 249 characters"),
        ("--source", "", "not 1 to 256 characters"),
        ("--source", "a\tb", "without control characters"),
        ("--source", b"caf\xe9", "without control characters"),
        ("--batch-events", "0", "not a whole number from 1 to 10,000"),
        ("--batch-events", "10001", "not a whole number from 1 to 10,000"),
        ("--batch-events", "1e3", "not a whole number from 1 to 10,000"),
        ("--deadline", "0", "not a number of seconds above 0"),
        ("--deadline", "inf", "not a number of seconds above 0"),
        ("--deadline", "soon", "not a number of seconds above 0"),
    ],
)
def test_a_wrong_option(log: Path, option: str, value: str | bytes, sentence: str) -> None:
    topic = () if option == "--topic" else ("--topic", "logs")
    result = run("ship", log, *topic, option, value)
    assert_refused(result, f"argument {option}: ")
    assert sentence in result.stderr


def test_what_is_missing_or_unknown(log: Path) -> None:
    assert_refused(run(), "the following arguments are required: COMMAND")
    assert_refused(run("ship", "--topic", "a"), "the following arguments are required: FILE")
    assert_refused(run("ship", log), "the following arguments are required: --topic")
    assert_refused(run("ship", log, "--topic", "a", "--batch", "7"), "unrecognized arguments")
    assert_refused(run("send"), "invalid choice: 'send'")


def test_a_file_that_cannot_be_shipped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, reason in [
        ("missing", "No such file or directory"),
        ("", "it is a directory"),
        ("pipe", "it is not a regular file"),
        ("line\nfeed", "No such file or directory"),
        ("a" * 300, "File name too long"),
    ]:
        path = tmp_path / name
        result = run("ship", path, "--topic", "logs")
        assert_refused(result, f"ship: cannot read {str(path)!r}: {reason}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that fails when it is read")
def test_a_file_that_fails_while_it_is_read() -> None:
    assert_refused(run("ship", "/proc/self/mem", "--topic", "logs"), "Input/output error")


def test_help_has_default_and_unit_of_every_option() -> None:
    assert "ship" in run("--help").stdout
    result = run("ship", "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: python -m publisher ship ")
    text = " ".join(result.stdout.split())
    for default in [
        "(default: http://127.0.0.1:8080)",
        "(no default)",
        "(default: each file's base name)",
        "(default: 500 events)",
        "(default: 300 seconds)",
    ]:
        assert default in text

"""What makes the command impossible is one sentence on stderr and status 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from publisher.__main__ import main

ROOT = Path(__file__).parents[4]


def run(
    *arguments: str | bytes | Path, stdin: int | None = subprocess.DEVNULL, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "publisher", *arguments],
        cwd=ROOT,
        env=os.environ | env,
        stdin=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def in_process(
    capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """As `run`, and quicker, for what never gets as far as to run."""
    try:
        status = main([os.fspath(argument) for argument in arguments])
    except SystemExit as ended:
        status = int(ended.code or 0)
    out, err = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, status, out, err)


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
        ("--url", "http://host/?topic=a", "not an http or https URL"),
        ("--topic", "", "not 1 to 249 characters"),
        ("--topic", "a" * 250, "not 1 to 249 characters"),
        ("--topic", "logs\n", "not 1 to 249 characters"),
        ("--topic", "lög", "not 1 to 249 characters"),
        ("--source", "", "not 1 to 256 characters"),
        ("--source", "a\tb", "without control characters"),
        ("--source", "caf\udce9", "without control characters"),
        ("--batch-events", "0", "not a whole number from 1 to 10,000"),
        ("--batch-events", "10001", "not a whole number from 1 to 10,000"),
        ("--batch-events", "1e3", "not a whole number from 1 to 10,000"),
        ("--deadline", "0", "not a number of seconds above 0"),
        ("--deadline", "inf", "not a number of seconds above 0"),
        ("--deadline", "soon", "not a number of seconds above 0"),
        ("--format", "csv", "invalid choice: 'csv'"),
    ],
)
def test_a_wrong_option(
    capsys: pytest.CaptureFixture[str], log: Path, option: str, value: str, sentence: str
) -> None:
    topic = () if option == "--topic" else ("--topic", "logs")
    result = in_process(capsys, "ship", log, *topic, option, value)
    assert_refused(result, f"argument {option}: ")
    assert sentence in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--topic", "a"], "the following arguments are required: FILE"),
        (["x"], "one of --topic and --topic-field is needed, and not both"),
        (["x", "--topic", "a", "--batch", "7"], "unrecognized arguments"),
        (
            ["x", "--topic", "a", "--topic-field", "b", "--format", "ndjson"],
            "one of --topic and --topic-field is needed, and not both",
        ),
        (["x", "--topic", "a", "--id-field", "id"], "--id-field needs --format ndjson"),
        (["x", "--topic", "a", "--time-field", "t"], "--time-field needs --format ndjson"),
        (["x", "--topic-field", "t"], "--topic-field needs --format ndjson"),
        (["-", "x", "--topic", "a"], "- for standard input goes alone, without other files"),
        (["x", "-", "--topic", "a"], "- for standard input goes alone, without other files"),
        (["-", "--topic", "a", "--follow"], "neither --follow nor --checkpoint goes with it"),
        (["-", "--topic", "a", "--checkpoint", "c"], "neither --follow nor --checkpoint goes"),
    ],
)
def test_options_that_do_not_go_together(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert_refused(in_process(capsys, "ship", *arguments), sentence)


def test_what_is_missing_or_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(in_process(capsys), "the following arguments are required: COMMAND")
    assert_refused(in_process(capsys, "send"), "invalid choice: 'send'")


@pytest.mark.parametrize("follow", [(), ("--follow",)])
def test_a_file_that_cannot_be_shipped(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, follow: tuple[str, ...]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    missing = [] if follow else [("missing", "No such file or directory")]
    for name, reason in [
        *missing,
        ("", "it is a directory"),
        ("pipe", "it is not a regular file"),
        ("file/below", "Not a directory"),
        ("a" * 300, "File name too long"),
    ]:
        path = tmp_path / name
        result = in_process(
            capsys, "ship", path, "--topic", "logs", *follow, "--checkpoint", tmp_path / "state"
        )
        assert_refused(result, f"ship: cannot read {str(path)!r}: {reason}\n")
    result = in_process(capsys, "ship", "/dev/null", "--topic", "logs")
    assert_refused(result, "cannot read '/dev/null': it is not a regular file")


@pytest.mark.usefixtures("processes")
@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that fails when it is read")
@pytest.mark.parametrize("follow", [(), ("--follow",)])
def test_a_file_that_fails_while_it_is_read(tmp_path: Path, follow: tuple[str, ...]) -> None:
    result = run(
        *("ship", "/proc/self/mem", "--topic", "logs", *follow),
        *("--checkpoint", tmp_path / "checkpoint"),
    )
    assert_refused(result, "Input/output error")


def test_a_checkpoint_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], log: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"something else\n" * 100)
    for follow in ((), ("--follow",)):
        result = in_process(
            capsys, "ship", log, "--topic", "logs", "--checkpoint", foreign, *follow
        )
        assert_refused(result, f"cannot use the checkpoint '{foreign}': it is not a checkpoint")
    assert foreign.read_bytes() == b"something else\n" * 100


@pytest.mark.usefixtures("processes")
def test_standard_input_that_is_closed_or_cannot_be_read(tmp_path: Path) -> None:
    script = f"exec {sys.executable} -m publisher ship - --topic logs <&-"
    closed = subprocess.run(
        ["/bin/sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert_refused(closed, "ship: standard input is closed\n")
    with (tmp_path / "output").open("wb") as output:
        result = run("ship", "-", "--topic", "logs", stdin=output.fileno())
    assert_refused(result, "ship: cannot read '-': Bad file descriptor\n")


@pytest.mark.usefixtures("processes")
def test_the_checkpoint_of_following_is_named_and_kept_with_the_state_of_the_user(
    log: Path, tmp_path: Path
) -> None:
    log.unlink()
    log.mkdir()
    state = tmp_path / "state"
    result = run("ship", log, "--topic", "logs", "--follow", XDG_STATE_HOME=str(state))
    (made,) = (state / "pubsub-log-aggregator").iterdir()
    told, refused = result.stderr.splitlines()
    assert told == f"python -m publisher ship: the checkpoint is '{made}'"
    assert refused.endswith(": it is a directory")


def test_help_has_default_and_unit_of_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert "ship" in in_process(capsys, "--help").stdout
    result = in_process(capsys, "ship", "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: python -m publisher ship ")
    text = " ".join(result.stdout.split())
    for default in [
        "(default: http://127.0.0.1:8080)",
        "(no default; needed unless --topic-field)",
        "(default: each file's base name, stdin)",
        "(default: none; with --follow, a file under ~/.local/state)",
        "(default: text)",
        "(default: 500 events)",
        "(default: 300 seconds; with --follow, never)",
    ]:
        assert default in text

"""What makes the command impossible is one sentence on stderr and status 2."""

import asyncio
import errno
import hashlib
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.scripted import Scripted
from unit.publisher.ship.shipping import Shipping

from publisher.__main__ import main
from publisher.ship import command
from publisher.ship.files.plain_file import PlainFile
from publisher.ship.totals import Totals

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


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


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
        ("--source", "", "it takes 1 to 256 characters"),
        ("--source", "a\tb", "without control characters"),
        ("--source", "caf\udce9", "without control characters"),
        ("--source", "{file}", "there are {host}, {path}, {name} and {field:a.b}"),
        ("--source", "{host", "a brace is written twice"),
        ("--host", "", "not 1 to 256 characters"),
        ("--host", "a\nb", "without control characters"),
        ("--ids", "content", "invalid choice: 'content'"),
        ("--batch-events", "0", "not a whole number from 1 to 10,000"),
        ("--batch-events", "10001", "not a whole number from 1 to 10,000"),
        ("--batch-events", "1e3", "not a whole number from 1 to 10,000"),
        ("--deadline", "0", "not a number of seconds above 0"),
        ("--deadline", "-inf", "expected one argument"),
        ("--deadline", "nan", "not a number of seconds above 0"),
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
        (["--topic", "a"], "a FILE is needed, or - for standard input"),
        (["x"], "one of --topic and --topic-field is needed"),
        (["x", "--topic", "a", "--batch", "7"], "unrecognized arguments"),
        (["x", "--topic", "a", "--id-field", "i"], "--id-field goes with --format ndjson"),
        (["x", "--topic", "a", "--time-field", "t"], "--time-field goes with --format ndjson"),
        (["x", "--topic-field", "t"], "--topic-field goes with --format ndjson"),
        (["x", "--topic", "a", "--multiline", "("], "--multiline '(' is no regular expression"),
        (["x", "--topic", "a", "--source", "{field:a}"], "goes with --format ndjson or journal"),
        (["x", "--topic", "a", "--unit", "u"], "--unit goes with --format journal"),
        (["-", "x", "--topic", "a"], "- for standard input goes alone, without other files"),
        (["x", "-", "--topic", "a"], "- for standard input goes alone, without other files"),
        (["-", "--topic", "a", "--checkpoint", "c"], "so --checkpoint does not go with it"),
        (["x", "--topic", "a", "--resend", "d"], "--resend goes without files, --follow and"),
        (["--topic", "a", "--resend", "d", "--follow"], "--resend goes without files, --follow"),
        (
            ["--topic", "a", "--resend", "d", "--dead-letters", "d"],
            "--dead-letters must be another file than that of --resend",
        ),
        (["--topic", "a", "--resend", "/none"], "cannot read the dead letters '/none': No such"),
    ],
)
def test_options_that_do_not_go_together(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert_refused(in_process(capsys, "ship", *arguments), sentence)


@pytest.mark.parametrize("option", ["FILE", "--checkpoint", "--dead-letters", "--resend"])
def test_an_empty_name_of_a_file(capsys: pytest.CaptureFixture[str], option: str) -> None:
    arguments = ["--topic", "a", *(["x", option] if option != "FILE" else []), ""]
    result = in_process(capsys, "ship", *arguments)
    assert_refused(result, f"{option}: it is empty, and names no file")


def test_what_is_missing_or_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(in_process(capsys), "the following arguments are required: COMMAND")
    assert_refused(in_process(capsys, "send"), "invalid choice: 'send'")


def test_a_file_that_cannot_be_shipped(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    every = tmp_path / "*"
    for name, sentence in [
        ("missing", "{} is not there"),
        ("", f"cannot read {{}}: it is a directory; name its files, as by the pattern '{every}'"),
        ("pipe", "cannot read {}: it is a pipe, not a file; send it through standard input, as -"),
        ("file/below", "{} is not there"),
    ]:
        path = tmp_path / name
        result = in_process(
            capsys, "ship", path, "--topic", "logs", "--checkpoint", tmp_path / "state"
        )
        assert_refused(result, f"ship: {sentence.format(repr(str(path)))}\n")
    result = in_process(capsys, "ship", "/dev/null", "--topic", "logs")
    assert_refused(result, "cannot read '/dev/null': it is a device, not a file; send it")
    result = in_process(capsys, "ship", tmp_path / "*.log", "--topic", "logs")
    assert_refused(result, f"no file matches '{tmp_path}/*.log'")


def test_a_file_that_fails_while_it_is_read(
    capsys: pytest.CaptureFixture[str], log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(PlainFile, "read", fails)
    result = in_process(capsys, "ship", log, "--topic", "logs")
    assert_refused(result, f"cannot read '{log}': Input/output error\n")


def test_a_deadline_may_be_infinite_and_is_with_follow() -> None:
    assert Shipping("http://a", "--deadline", "inf").parsed.deadline == math.inf
    for arguments, deadline_s in [
        ((), 300.0),
        (("--follow",), math.inf),
        (("--follow", "--deadline", "7"), 7.0),
        (("--deadline", "inf"), math.inf),
    ]:
        parsed = Shipping("http://a", *arguments).parsed
        assert command._target(parsed).policy.deadline_s == deadline_s


def test_a_checkpoint_is_named_by_what_is_shipped_where() -> None:
    def default(*arguments: str, url: str = "http://host/") -> str:
        return command._default_checkpoint(Shipping(url, *arguments).parsed).name

    # As version 0.1 named it, whose checkpoints go on.
    path = os.fspath(Path("-").absolute())
    for source, arguments in (("", ()), ("app", ("--source", "app"))):
        made = digest("http://host logs text ", source, path)
        assert default(*arguments) == f"ship-{made}.checkpoint"
    names = [
        default(),
        default("--source", "app"),
        default("--source", "{name}"),
        default("--topic", "other"),
        default("--format", "ndjson"),
        default("--format", "ndjson", "--id-field", "id"),
        default("--format", "journal", "--unit", "a"),
        default(url="http://other"),
    ]
    assert len(set(names)) == len(names)
    assert default(url="http://user:hush@host") == default("--format", "text") == default()


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
    reading, writing = os.pipe()
    os.close(writing)
    try:
        result = run("ship", "/dev/stdin", "--topic", "logs", stdin=reading)
    finally:
        os.close(reading)
    sentence = "it is a pipe, not a file; send it through standard input, as -\n"
    assert_refused(result, f"ship: cannot read '/dev/stdin': {sentence}")


@pytest.mark.usefixtures("processes")
def test_the_checkpoint_of_following_is_named_and_kept_with_the_state_of_the_user(
    log: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    # Its directory can't be made, as a file is there.
    state.write_bytes(b"")
    result = run("ship", log, "--topic", "logs", "--follow", XDG_STATE_HOME=str(state))
    told, refused = result.stderr.splitlines()
    directory = state / "pubsub-log-aggregator"
    named = re.fullmatch(r"python -m publisher ship: the checkpoint is '(.*)'", told)
    assert named is not None
    assert Path(named[1]).parent == directory
    sentence = f"cannot make the directory '{directory}' for the checkpoint (Not a directory)"
    assert refused.endswith(f"{sentence}: name --checkpoint")
    assert result.returncode == 2


def test_the_state_of_the_user_is_where_the_environment_says_if_that_is_absolute(
    capsys: pytest.CaptureFixture[str], log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    of_home = Path("/home/ann/.local/state")
    for state, directory in (
        ("/var/state", Path("/var/state")),
        ("state", of_home),
        ("~/state", of_home),
        ("", of_home),
    ):
        monkeypatch.setenv("XDG_STATE_HOME", state)
        assert command._state_directory() == directory
    for home in ("", "ann"):
        monkeypatch.setenv("HOME", home)
        result = in_process(capsys, "ship", log, "--topic", "logs", "--follow")
        assert_refused(result, "there is no home directory for a checkpoint: name --checkpoint\n")
    assert list(tmp_path.iterdir()) == [log]


def test_a_directory_that_is_not_there_is_not_made_for_dead_letters(
    capsys: pytest.CaptureFixture[str], log: Path, tmp_path: Path
) -> None:
    dead = tmp_path / "mistyped" / "dead"
    result = in_process(capsys, "ship", log, "--topic", "logs", "--dead-letters", dead)
    sentence = f"cannot write the dead letters '{dead}': there is no directory '{dead.parent}'\n"
    assert_refused(result, sentence)


@pytest.mark.parametrize(
    ("counts", "dead_letters", "sentence"),
    [
        ({"conflicts": 1}, ("--dead-letters", "d"), "1 record in conflict was not stored"),
        ({"conflicts": 2000}, (), "2,000 records in conflict were not stored"),
        ({"rejected": 1}, (), "1 rejected record was not stored"),
        ({"rejected": 1}, ("--dead-letters", "d"), "1 rejected record ('d' has it) was not"),
        ({"rejected": 2}, ("--dead-letters", "d"), "2 rejected records ('d' has them) were not"),
        (
            {"conflicts": 1, "rejected": 1},
            ("--dead-letters", "d"),
            "1 record in conflict and 1 rejected record ('d' has it) were not stored, all others",
        ),
    ],
)
def test_what_was_not_stored_is_told_in_numbers_that_are_not_0(
    counts: dict[str, int], dead_letters: tuple[str, ...], sentence: str
) -> None:
    parsed = Shipping("http://a", *dead_letters).parsed
    assert command._not_stored(parsed, Totals(**counts)).startswith(sentence)


@pytest.mark.usefixtures("processes")
async def test_a_line_that_is_no_dead_letter_makes_the_status_1(
    server: Scripted, log: Path, tmp_path: Path
) -> None:
    dead = tmp_path / "dead"
    arguments = ("--topic", "logs", "--url", server.url)
    await Shipping(server.url, "--format", "ndjson", "--dead-letters", dead).once(log)
    with dead.open("ab") as file:
        file.write(b"no letter\n")
    result = await asyncio.to_thread(run, "ship", "--resend", dead, *arguments)
    told = f"python -m publisher ship: line 2 of '{dead}' is no dead letter, and is left out\n"
    assert (result.returncode, result.stderr) == (1, told)
    assert result.stdout.startswith("sent 1 line: stored 1, ")


def test_help_has_default_and_unit_of_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert "ship" in in_process(capsys, "--help").stdout
    result = in_process(capsys, "ship", "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: python -m publisher ship ")
    text = " ".join(result.stdout.split())
    for default in [
        "else http://127.0.0.1:8080)",
        "(no default; with --topic-field, for the records that have none)",
        "(default: {host}:{path}; {host}:{unit} of a journal)",
        "(default: the name of this machine)",
        "(default: host)",
        "(default: none; with --follow, a file under ~/.local/state)",
        "only entries of this unit; may be given several times",
        "{field:a.b}, a member of an ndjson record or journal entry (default: ",
        "(default: lines; text is its former name)",
        "(default: they are stored as text)",
        "(default: 500 events)",
        "(default: 300 seconds; with --follow, inf)",
    ]:
        assert default in text

"""The command line: its help, its settings, and one sentence for every wrong one."""

import re
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from service.conftest import OwnDatabase
from support.backends import PostgresServer
from support.command import environment, run_to_end

from aggregator import __version__
from aggregator.settings.model import Settings

_UNITS = {"bytes": "bytes", "events": "events", "ms": "milliseconds"}


def refused(cwd: Path, *arguments: str, env: dict[str, str] | None = None) -> str:
    """Run it, expect one sentence and exit code 2, and return the sentence."""
    ended = run_to_end("--port", "0", *arguments, cwd=cwd, env=env)
    assert ended.code == 2, ended
    lines = ended.err.splitlines()
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("aggregator: ")
    assert "Traceback" not in ended.out
    sentence = lines[0].removeprefix("aggregator: ")
    assert len(sentence.split()) >= 3
    return sentence


def test_help_names_every_setting_with_its_default_and_unit(tmp_path: Path) -> None:
    ended = run_to_end("--help", cwd=tmp_path)
    assert ended.code == 0
    assert ended.err == ""
    text = " ".join(ended.out.partition("options:")[2].split())
    sections = re.split(r" (?=--[a-z-]+ )", text)
    told = {section.split()[0]: section for section in sections if section.startswith("--")}
    for name, field in Settings.options().items():
        option = "--" + name.replace("_", "-")
        # Where there is no value, "None" is said in words.
        default = field.default_text if field.default in (None, ()) else field.default
        assert f"(default: {default})" in told[option], option
        unit = _UNITS.get(name.rsplit("_", 1)[-1])
        if unit:
            assert unit in told[option], option
    options = {"--" + name.replace("_", "-") for name in Settings.options()}
    assert set(told) == options | {"--help", "--version"}


def test_help_is_in_groups_without_a_word_of_python(tmp_path: Path) -> None:
    out = run_to_end("--help", cwd=tmp_path).out
    titles = re.findall(r"^([^\s:]+(?: [^\s:]+)*):$", out, re.MULTILINE)
    assert titles == ["commands", "options", *Settings.groups()]
    assert not re.findall(r"\b(?:str|int|bool|Path|Dsn|Positive|None|Secret|object)\b", out)


@pytest.mark.parametrize("program", ["aggregator", "publisher", "subscriber"])
def test_a_program_is_called_by_the_name_that_its_help_shows(tmp_path: Path, program: str) -> None:
    script = str(Path(sys.executable).with_name(program))
    for command, name in (
        ([script], program),
        ([sys.executable, "-m", program], f"python -m {program}"),
    ):
        told = subprocess.check_output([*command, "--help"], cwd=tmp_path, text=True)
        assert told.startswith(f"usage: {name} ")
        told = subprocess.check_output([*command, "--version"], cwd=tmp_path, text=True)
        assert told == f"{program} {__version__}\n"


def test_serve_is_the_command_that_is_meant_without_one(tmp_path: Path) -> None:
    for arguments in ["--port", "abc"], ["--help"]:
        named, meant = (
            run_to_end(*command, *arguments, cwd=tmp_path) for command in (["serve"], [])
        )
        assert named == meant


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["vrify"], "'vrify' is no command; there are serve, verify, logs report, token new and"),
        (["logs"], "logs has one command: python -m aggregator logs report"),
        (["logs", "print"], "logs has one command: python -m aggregator logs report"),
        (["logs", "report", "--htm"], "unrecognized arguments: --htm; did you mean --html?"),
        (["token"], "token has two commands: python -m aggregator token new and python -m"),
        (["token", "new"], "the following arguments are required: --name"),
        (["token", "agr_secret"], "token has two commands:"),
        (["token", "check", "agr_secret", "--action", "admin"], "unrecognized arguments: agr_…"),
        (["verify", "--databse", "x"], "--databse x; did you mean --database?"),
        (["verify", "--host", "x"], "unrecognized arguments: --host x (see"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_is_one_sentence(
    tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    ended = run_to_end(*arguments, cwd=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("aggregator: ")
    assert sentence in ended.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port", "abc"], "--port"),
        (["--port", "65536"], "65535"),
        (["--log-level", "loud"], "'warning'"),
        (["--backend", "mysql"], "'postgres'"),
        (["--drain-timeout-ms", "0"], "--drain-timeout-ms"),
        (["--queue-max-events", "5"], "queue_max_events (5) must be at least max_batch_events"),
        (["--queue-max-bytes", "5"], "queue_max_bytes (5) must be at least max_body_bytes"),
        (["--database", ":memory:"], "would lose every event"),
        (["--backend", "postgres"], "needs --dsn"),
        (["--dsn", "mysql://shop@db/events"], "postgresql://"),
        (["--dsn", "postgresql://db/x", "--database", "x.db"], "--backend"),
        (["--no-such-option", "1"], "--no-such-option"),
        (["stray"], "stray"),
        (["--host"], "--host"),
    ],
    ids=" ".join,
)
def test_a_wrong_setting_is_one_sentence(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    assert expected in refused(tmp_path, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_setting_in_the_environment_is_one_sentence(tmp_path: Path) -> None:
    sentence = refused(tmp_path, env={"AGGREGATOR_FLUSH_MAX_EVENTS": "many"})
    assert "'many'" in sentence


@pytest.mark.parametrize(
    "dsn",
    [
        "mysql://shop:hunter2@db/events",
        "postgresql://shop:hunter2@127.0.0.1:port/events",
        "postgresql://shop:hunter2/3@127.0.0.1/events",
        "postgresql://shop:hunter2@127.0.0.1/events?sslmode=perhaps",
        "postgresql://shop:hunter2@[::1/events",
    ],
)
def test_a_wrong_dsn_is_one_sentence_without_the_password(tmp_path: Path, dsn: str) -> None:
    ended = run_to_end("--port", "0", "--dsn", dsn, cwd=tmp_path)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert "hunter2" not in ended.err + ended.out


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = refused(tmp_path, "--port", str(port))
    assert sentence == f"can't listen on 127.0.0.1:{port}: Address already in use"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "two..dots", "192.0.2.1"])
def test_a_host_that_is_not_here_is_one_sentence(tmp_path: Path, host: str) -> None:
    sentence = refused(tmp_path, "--host", host)
    assert host in sentence
    assert "Unknown error" not in sentence


def test_a_file_that_is_no_database_is_one_sentence_and_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("these are notes, not a database\n" * 100)
    assert "notes.txt" in refused(tmp_path, "--database", str(file))
    assert file.read_text() == "these are notes, not a database\n" * 100


def test_a_directory_in_place_of_the_file_is_one_sentence(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(tmp_path, "--database", str(tmp_path))


def test_a_missing_directory_is_one_sentence_and_is_not_made(tmp_path: Path) -> None:
    assert "missing" in refused(tmp_path, "--database", "missing/events.db")
    assert not (tmp_path / "missing").exists()


def test_a_closed_standard_output_is_one_sentence(tmp_path: Path) -> None:
    # The next file opened would get its number, and the log with it: that file is the database.
    ended = subprocess.run(
        ["sh", "-c", 'exec "$0" -m aggregator --port 0 >&-', sys.executable],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"aggregator: standard output is closed; ")
    assert not list(tmp_path.iterdir())


def test_a_database_of_another_program_is_one_sentence_and_untouched(tmp_path: Path) -> None:
    file = tmp_path / "photos.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
    connection.close()
    before = file.read_bytes()
    assert "another program" in refused(tmp_path, "--database", str(file))
    assert file.read_bytes() == before


def test_a_schema_newer_than_the_program_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA application_id = {0x45564C47}")
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "99" in refused(tmp_path, "--database", str(file))


def test_a_postgres_schema_newer_than_the_program_is_one_sentence(
    tmp_path: Path, own_database: OwnDatabase
) -> None:
    first = run_to_end("--host", "192.0.2.1", *own_database.arguments(), cwd=tmp_path)
    assert "can't listen" in first.err  # the schema is there by now
    own_database.execute("INSERT INTO aggregator_schema (version) VALUES (99)")
    assert "99" in refused(tmp_path, *own_database.arguments())


def test_a_database_that_postgres_does_not_have_is_one_sentence(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    dsn = postgres_server.database_dsn("no_such_database")
    assert "no_such_database" in refused(tmp_path, "--dsn", dsn)


def test_a_wrong_password_is_one_sentence_without_it(
    tmp_path: Path, own_database: OwnDatabase
) -> None:
    server = own_database.server
    access = server.data / "pg_hba.conf"
    before = access.read_text()
    server.execute("CREATE ROLE clerk LOGIN PASSWORD 'right'")
    try:
        access.write_text("local all clerk scram-sha-256\n" + before)
        server.execute("SELECT pg_reload_conf()")
        sentence = refused(tmp_path, "--dsn", server.dsn_for("clerk", "hunter2"))
    finally:
        access.write_text(before)
        server.execute("SELECT pg_reload_conf()")
        server.execute("DROP ROLE clerk")
    assert "password" in sentence
    assert "hunter2" not in sentence

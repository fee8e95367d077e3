"""Settings: where they come from, who wins, and one sentence about what is wrong."""

from dataclasses import asdict
from pathlib import Path

import pytest

from aggregator.__main__ import main
from aggregator.settings.command_line import Parser, read_settings
from aggregator.settings.model import Settings

SECRET = "hush4711"
DSN = f"postgresql://user:{SECRET}@db/events"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    for name in Settings.options():
        monkeypatch.delenv(f"AGGREGATOR_{name.upper()}", raising=False)


def settings(*arguments: str) -> Settings:
    return read_settings(Settings, Parser("aggregator", usage="", description=""), arguments)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says before it gives up."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("aggregator: ")
    assert output.err.count("\n") == 1
    return output.err


def test_with_nothing_given_it_is_a_file_beside_it_on_this_machine_alone() -> None:
    found = settings()
    assert (found.backend, found.database) == ("sqlite", Path("aggregator.db"))
    assert (found.host, found.port) == ("127.0.0.1", 8080)
    assert (found.max_body_bytes, found.max_batch_events, found.max_payload_bytes) == (
        16 * 2**20,
        10_000,
        2**20,
    )


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATOR_PORT", "1111")
    monkeypatch.setenv("AGGREGATOR_QUEUE_MAX_EVENTS", "20000")
    found = settings("--port", "2222")
    assert (found.port, found.queue_max_events) == (2222, 20_000)
    assert settings("--queue-max-events", "40000").queue_max_events == 40_000


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGGREGATOR_PORT", "AGGREGATOR_DSN", "DATABASE_URL"):
        monkeypatch.setenv(name, "")
    assert (settings().backend, settings().port) == ("sqlite", 8080)


def test_an_empty_option_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATOR_PORT", "1111")
    assert settings("--port", "", "--dsn", "").port == 1111


def test_of_an_option_that_is_given_twice_the_last_counts() -> None:
    assert settings("--port", "1", "--port=2").port == 2


@pytest.mark.parametrize("text", ["80", " 80 ", "+80", "8_0", "80.0", "80.", "80.00 "])
def test_a_whole_number_may_be_written_in_many_ways(text: str) -> None:
    assert settings("--port", text).port == 80


@pytest.mark.parametrize("text", ["8e1", "80.5", "0x50", "8,0", "inf", "-0.1", "true"])
def test_what_is_no_whole_number_is_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    expected = f"--port: must be a whole number from 0 to 65535, not {text!r}\n"
    assert refused(capsys, "--port", text) == f"aggregator: {expected}"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_dsn_means_postgres(scheme: str) -> None:
    found = settings("--dsn", DSN.replace("postgresql", scheme))
    assert found.backend == "postgres"
    assert found.dsn is not None
    assert found.dsn.get_secret_value().startswith(f"{scheme}://user:{SECRET}@")


def test_database_url_stands_in_for_a_dsn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", DSN)
    found = settings()
    assert found.backend == "postgres"
    assert found.dsn is not None
    assert found.dsn.get_secret_value() == DSN


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///events.db", "events.db"), ("sqlite:////var/lib/events.db", "/var/lib/events.db")],
)
def test_database_url_stands_in_for_a_file(
    monkeypatch: pytest.MonkeyPatch, url: str, path: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    found = settings()
    assert (found.backend, found.database, found.dsn) == ("sqlite", Path(path), None)


def test_database_url_gives_way_to_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", DSN)
    assert settings("--database", "mine.db").backend == "sqlite"
    assert settings("--backend", "sqlite").database == Path("aggregator.db")
    monkeypatch.setenv("AGGREGATOR_DSN", "postgresql://other/db")
    found = settings()
    assert found.dsn is not None
    assert found.dsn.get_secret_value() == "postgresql://other/db"
    monkeypatch.setenv("DATABASE_URL", "sqlite:///other.db")
    assert settings().backend == "postgres"


def test_both_a_dsn_and_a_file_need_a_choice(capsys: pytest.CaptureFixture[str]) -> None:
    both = ["--dsn", DSN, "--database", "events.db"]
    assert "choose with --backend" in refused(capsys, *both)
    assert settings(*both, "--backend", "sqlite").database == Path("events.db")
    assert settings(*both, "--backend", "postgres").backend == "postgres"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], ["--port", "65535", "70000"]),
        (["--port", "http"], ["--port", "http"]),
        (["--max-batch-events", "0"], ["--max-batch-events", "greater than", "0"]),
        (["--backend", "mysql"], ["--backend", "sqlite", "postgres", "mysql"]),
        (["--backend", "postgres"], ["--dsn", "DATABASE_URL"]),
        (["--database", ":memory:"], [":memory:", "give a file"]),
        (["--queue-max-events", "5"], ["queue_max_events (5)", "max_batch_events (10000)"]),
        (["--max-body-bytes", "99999999"], ["queue_max_bytes", "max_body_bytes (99999999)"]),
        (
            ["--max-connections", "5999"],
            ["max_waits (1000)", "max_streams (2000)", "max_connections (5999)"],
        ),
        (["--no-such-option"], ["--no-such-option"]),
        (["--log-level", "loud"], ["--log-level", "loud"]),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    sentence = refused(capsys, *arguments)
    assert [word for word in words if word not in sentence] == []


def test_a_wrong_variable_is_told_like_a_wrong_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGGREGATOR_FLUSH_MAX_EVENTS", "many")
    told = refused(capsys)
    assert "--flush-max-events" in told
    assert "(from AGGREGATOR_FLUSH_MAX_EVENTS)" in told


@pytest.mark.parametrize(
    "dsn",
    [
        f"mysql://user:{SECRET}@db/x",
        f"user:{SECRET}@db",
        f"host=db password={SECRET}",
        f"postgresql://u:{SECRET}@[db/x",
    ],
)
@pytest.mark.parametrize("where", ["--dsn", "AGGREGATOR_DSN", "DATABASE_URL"])
def test_a_password_is_never_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, where: str, dsn: str
) -> None:
    if where.startswith("--"):
        assert SECRET not in refused(capsys, where, dsn)
    else:
        monkeypatch.setenv(where, dsn)
        assert SECRET not in refused(capsys)


@pytest.mark.parametrize("name", ["log", "Log", 'with "quotes"', "ü" * 31])
def test_a_schema_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert settings("--dsn", DSN).schema is None
    assert settings("--dsn", DSN, "--schema", name).schema == name
    monkeypatch.setenv("SCHEMA", "somebody-else's")
    assert settings("--dsn", DSN).schema is None
    monkeypatch.setenv("AGGREGATOR_SCHEMA", name)
    assert settings("--dsn", DSN).schema == name


def test_a_schema_without_a_postgres_database_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "no DSN is given" in refused(capsys, "--schema", "log")
    assert "no DSN is given" in refused(capsys, "--schema", "log", "--database", "events.db")


@pytest.mark.parametrize("name", ["pg_catalog", "pg_mine", "information_schema", "ü" * 32])
def test_a_schema_that_can_not_have_a_log_is_refused(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert "--schema: " in refused(capsys, "--schema", name)


def test_settings_print_without_the_password() -> None:
    found = settings("--dsn", DSN)
    assert SECRET not in f"{found!r} {found} {asdict(found)}"


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in Settings.options():
        assert f"--{name.replace('_', '-')}" in text


def test_waits_and_streams_take_half_of_the_connections_at_most() -> None:
    assert settings("--max-connections", "6000").max_connections == 6000

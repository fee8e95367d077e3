"""The options of credentials, and the environment in their place."""

import argparse
from pathlib import Path

import pytest

from publisher import cli, connection_options
from publisher.tokens import CredentialsInvalid

SECRET = "agg_0123456789"
AUTHORIZATION = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGGREGATOR_TOKEN", "AGGREGATOR_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def parsed(*arguments: str | Path) -> argparse.Namespace:
    parser = cli.Parser(prog="ship")
    connection_options.add_to(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def taken(*arguments: str | Path) -> tuple[argparse.Namespace, list[str]]:
    namespace = parsed(*arguments)
    return namespace, connection_options.take(namespace)


def headers(namespace: argparse.Namespace) -> dict[str, str]:
    return dict(namespace.credentials.present().headers)


def test_without_any_there_are_no_credentials() -> None:
    namespace, warnings = taken()
    assert namespace.url == cli.DEFAULT_URL
    assert headers(namespace) == {}
    assert warnings == []


def test_url_and_token_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATOR_URL", "https://events.example.org")
    monkeypatch.setenv("AGGREGATOR_TOKEN", f"{SECRET}\n")
    namespace, warnings = taken()
    assert namespace.url == "https://events.example.org"
    assert headers(namespace) == AUTHORIZATION
    assert warnings == []
    assert SECRET not in repr(namespace)


def test_options_win_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, token_file: Path
) -> None:
    monkeypatch.setenv("AGGREGATOR_URL", "no URL at all")
    monkeypatch.setenv("AGGREGATOR_TOKEN", "no token at all")
    namespace, _ = taken("--url", "http://127.0.0.1:1", "--token-file", token_file)
    assert namespace.url == "http://127.0.0.1:1"
    assert headers(namespace) == AUTHORIZATION


def test_empty_variables_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATOR_URL", "")
    monkeypatch.setenv("AGGREGATOR_TOKEN", "")
    namespace, _ = taken()
    assert namespace.url == cli.DEFAULT_URL
    assert headers(namespace) == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"{SECRET} {SECRET}", "has a character that a header cannot carry"),
        (f"{SECRET}\n{SECRET}", "has 2 lines, where the token alone is to be"),
        (" ", "is empty, where a token is to be"),
    ],
)
def test_a_variable_without_a_token_is_named(
    text: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGGREGATOR_TOKEN", text)
    with pytest.raises(
        CredentialsInvalid, match=r"^the environment variable AGGREGATOR_TOKEN "
    ) as (refused):
        taken()
    assert sentence in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_variable_without_a_url_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGGREGATOR_URL", "events.example.org")
    with pytest.raises(SystemExit) as ended:
        parsed()
    assert ended.value.code == cli.USAGE
    assert capsys.readouterr().err == (
        "ship: argument --url: 'events.example.org' is not an http or https URL such as "
        "http://127.0.0.1:8080, without ? and # (of AGGREGATOR_URL) (see ship --help)\n"
    )


def test_the_help_shows_nothing_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGGREGATOR_URL", f"https://user:{SECRET}@events.example.org")
    monkeypatch.setenv("AGGREGATOR_TOKEN", SECRET)
    with pytest.raises(SystemExit):
        parsed("--help")
    shown = capsys.readouterr().out
    assert SECRET not in shown
    assert "AGGREGATOR_TOKEN" in shown


def test_headers_are_taken_each_once() -> None:
    namespace, _ = taken("--header", "X-Tenant: north", "--header", "X-Zone:a:b")
    assert headers(namespace) == {"X-Tenant": "north", "X-Zone": "a:b"}
    with pytest.raises(CredentialsInvalid, match=r"^--header gives x-tenant twice$"):
        taken("--header", "X-Tenant: north", "--header", "x-tenant: south")


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (f"authorization: Bearer {SECRET}", "a token is given by --token-file"),
        (SECRET, "a header is written 'Name: value', with a colon"),
        (f"X: {SECRET}\n{SECRET}", "has a character that is not printable ASCII"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused(
    header: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("--header", header)
    assert ended.value.code == cli.USAGE
    told = capsys.readouterr().err
    assert sentence in told
    assert SECRET not in told


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("http://127.0.0.1:8080", False),
        ("http://127.9.9.9", False),
        ("http://[::1]:8080", False),
        ("http://[::ffff:127.0.0.1]", False),
        ("http://localhost:8080", False),
        ("http://LOCALHOST.", False),
        ("http://events.localhost", False),
        ("https://events.example.org", False),
        ("http://events.example.org", True),
        ("http://10.0.0.1", True),
        ("http://[2001:db8::1]", True),
        ("http://127.0.0.1.example.org", True),
        ("http://localhost.example.org", True),
    ],
)
def test_a_token_in_plain_http_beyond_this_machine_is_warned_of(
    url: str, warns: bool, token_file: Path
) -> None:
    _, warnings = taken("--url", url, "--token-file", token_file)
    assert [warning.partition(" goes to ")[0] for warning in warnings] == ["the token"] * warns
    assert taken("--url", url)[1] == []


def test_files_that_everybody_can_read_are_warned_of(token_file: Path) -> None:
    token_file.chmod(0o644)
    _, warnings = taken("--token-file", token_file)
    (warning,) = warnings
    assert warning.startswith(f"every user of this machine can read '{token_file}'; have only its")
    token_file.chmod(0o640)
    assert taken("--token-file", token_file)[1] == []


def test_a_token_beside_a_user_of_the_url_is_refused(token_file: Path) -> None:
    with pytest.raises(CredentialsInvalid, match=r"^a token does not go with a user in the URL"):
        taken("--url", f"http://user:{SECRET}@127.0.0.1", "--token-file", token_file)

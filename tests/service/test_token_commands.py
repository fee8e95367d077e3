"""`token new` and `token check`: what they print and write, and what they never do."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.command import Ended, environment, run_to_end

from aggregator.access.tokens import digest_of, is_well_formed, new_token
from aggregator.access.tokens_file import load

FULL = (
    "--name", "shop", "--publish", "orders", "--publish", "payment.*", "--read", "**",
    "--subscribe", "billing.*", "--admin", "--metrics", "--source", "the \"shop\" é",
    "--expires", "2999-01-31T13:00:00+01:00", "--events-per-second", "1000",
    "--bytes-per-second", "1000000", "--streams", "5", "--subscriptions", "0",
    "--new-topics-per-day", "10", "--certificate", "URI:spiffe://example/shop",
)  # fmt: skip


def made(cwd: Path, *arguments: str) -> tuple[str, str]:
    """The token and the text of the entry that `token new` prints."""
    ended = run_to_end("token", "new", *arguments, cwd=cwd)
    assert (ended.code, ended.err) == (0, "")
    token, empty, text = ended.out.split("\n", 2)
    assert empty == ""
    assert is_well_formed(token)
    assert token[4:] not in text
    return token, text


def check(cwd: Path, token: str, *arguments: str, env: Mapping[str, str] | None = None) -> Ended:
    """How `token check` ends with a token on standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "aggregator", "token", "check", *arguments],
        cwd=cwd,
        env=environment(env),
        input=token,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if len(token) > 10:
        assert token.strip()[4:] not in done.stdout + done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def test_new_prints_a_token_and_its_entry_which_is_all_that_is_added(tmp_path: Path) -> None:
    token, text = made(tmp_path, *FULL, "--add-to", "tokens.toml")
    path = tmp_path / "tokens.toml"
    assert path.read_text() == text
    assert path.stat().st_mode & 0o7777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert text == (
        "[[entry]]\n"
        'name = "shop"\n'
        f'sha256 = ["{digest_of(token).hex()}"]\n'
        'publish = ["orders", "payment.*"]\n'
        'read = ["**"]\n'
        'subscribe = ["billing.*"]\n'
        "admin = true\n"
        "metrics = true\n"
        'source = "the \\"shop\\" é"\n'
        'certificate = "URI:spiffe://example/shop"\n'
        "events_per_second = 1000\n"
        "bytes_per_second = 1000000\n"
        "streams = 5\n"
        "subscriptions = 0\n"
        "new_topics_per_day = 10\n"
        "expires = 2999-01-31T12:00:00Z\n"
    )
    (entry,) = load(path)
    assert entry.source == 'the "shop" é'


def test_new_without_a_file_writes_none(tmp_path: Path) -> None:
    _, text = made(tmp_path, "--name", "shop", "--publish", "orders", "--expires", "90d")
    (entry,) = tomllib.loads(text)["entry"]
    assert set(entry) == {"name", "sha256", "publish", "expires"}
    assert list(tmp_path.iterdir()) == []


def test_new_whose_token_can_not_be_printed_names_the_entry_to_remove(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aggregator", "token", "new", "--name", "shop", "--admin"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "--add-to", "tokens.toml"],
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "aggregator: can't print the token: No space left on device; remove the entry 'shop' from "
        "'tokens.toml'\n"
    )


def test_new_whose_entry_can_not_be_printed_is_one_sentence(tmp_path: Path) -> None:
    arguments = ("token", "new", "--name", "café", "--admin")
    ended = run_to_end(*arguments, cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    sentence = "aggregator: can't print the token: its encoding is not UTF-8\n"
    assert ended == Ended(2, "", sentence)


def test_wrong_use_of_a_command_is_one_sentence_and_exit_status_2(tmp_path: Path) -> None:
    ended = run_to_end("token", "new", "--name", "shop", cwd=tmp_path)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    ended = check(tmp_path, new_token()[:-1], "--action", "admin", "--tokens", os.devnull)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)


def test_several_at_once_are_all_in_the_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aggregator", "token", "new", "--admin", "--add-to", "t.toml"]
    processes = [
        subprocess.Popen(
            [*command, "--name", f"shop-{n}"],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
        )
        for n in range(4)
    ]
    assert [process.wait(30) for process in processes] == [0] * 4
    assert {entry.name for entry in load(tmp_path / "t.toml")} == {f"shop-{n}" for n in range(4)}


@pytest.fixture
def shop(tmp_path: Path) -> str:
    """The token of `shop`, whose entry is in tokens.toml."""
    token, _ = made(
        tmp_path, "--name", "shop", "--publish", "orders", "--publish", "payment.*", "--source",
        "till", "--subscribe", "billing", "--expires", "2999-01-31", "--add-to", "tokens.toml",
    )  # fmt: skip
    return token


UNTIL = "until 2999-01-31T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            "--action publish --topic payment.card",
            0,
            (
                "yes: entry 'shop' may publish to topic 'payment.card' by publish = 'payment.*', "
                f"as source 'till' alone, {UNTIL}"
            ),
        ),
        ("--action publish --topic other", 1, "no: entry 'shop' may not publish to topic 'other'"),
        ("--action read --topic orders", 1, "no: entry 'shop' may not read topic 'orders'"),
        (
            "--action subscribe --subscription billing",
            0,
            (
                "yes: entry 'shop' may use subscription 'billing' over topics that it may read by "
                f"subscribe = 'billing', {UNTIL}"
            ),
        ),
        ("--action metrics", 1, "no: entry 'shop' may not read metrics"),
        ("--action admin", 1, "no: entry 'shop' may not do everything"),
    ],
)
def test_check_says_by_which_rule_and_until_when(
    tmp_path: Path, shop: str, arguments: str, code: int, sentence: str
) -> None:
    ended = check(tmp_path, f"{shop}\n", *arguments.split(), "--tokens", "tokens.toml")
    assert ended == Ended(code, f"{sentence}\n", "")


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ("--action read --topic orders", "read topic 'orders' by admin = true"),
        ("--action admin", "do everything by admin = true"),
        ("--action metrics", "read metrics by metrics = true"),
    ],
)
def test_check_of_an_admin_takes_the_output_of_new(
    tmp_path: Path, arguments: str, rule: str
) -> None:
    path = tmp_path / "tokens.toml"
    ended = run_to_end(
        "token", "new", "--name", "ann", "--admin", "--metrics", "--add-to", str(path), cwd=tmp_path
    )
    told = check(tmp_path, ended.out, *arguments.split(), "--tokens", str(path))
    assert told == Ended(0, f"yes: entry 'ann' may {rule}, without an end\n", "")


def test_check_takes_token_and_file_from_the_environment(tmp_path: Path, shop: str) -> None:
    variables = {"AGGREGATOR_TOKEN": shop, "AGGREGATOR_TOKENS": str(tmp_path / "tokens.toml")}
    arguments = ("--action", "publish", "--topic", "orders")
    # What is on standard input is no token.
    assert check(tmp_path, "other", *arguments, env=variables).code == 0


def test_check_of_unknown_and_expired_tokens_is_no(tmp_path: Path) -> None:
    token = new_token()
    path = tmp_path / "tokens.toml"
    path.touch()
    arguments = ("--action", "admin", "--tokens", str(path))
    unknown = "no: no entry has this token; it may have been revoked\n"
    assert check(tmp_path, token, *arguments) == Ended(1, unknown, "")
    path.write_text(
        f"[[entry]]\nname = 'shop'\nsha256 = ['{digest_of(token).hex()}']\n"
        "expires = 2001-01-31T12:00:00Z\n"
    )
    expired = "no: the token of 'shop' expired at 2001-01-31T12:00:00.000000Z\n"
    assert check(tmp_path, token, *arguments) == Ended(1, expired, "")


def test_check_without_a_file_is_one_sentence(tmp_path: Path) -> None:
    ended = check(tmp_path, new_token(), "--action", "admin")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "aggregator: no tokens file is named; give --tokens FILE\n"


def test_token_of_a_client_is_no_mistaken_setting(tmp_path: Path) -> None:
    env = {"AGGREGATOR_TOKEN": new_token()}
    ended = run_to_end("verify", "--database", "missing.db", cwd=tmp_path, env=env)
    assert ended.code == 2
    assert "AGGREGATOR_TOKEN" not in ended.err

"""What `token new` and `token check` refuse, each in one sentence without a token."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aggregator.__main__ import main
from aggregator.access.tokens import new_token

Refused = Callable[..., str]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """The sentence with which a command ends that prints nothing, in a directory of the test."""
    monkeypatch.chdir(tmp_path)
    for name in "AGGREGATOR_TOKEN", "AGGREGATOR_TOKENS":
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, given: str = "") -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        with pytest.raises(SystemExit) as ended:
            main(["token", *arguments])
        out, err = capsys.readouterr()
        assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("aggregator: ")
        return err.removeprefix("aggregator: ").strip()

    return run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--name", "shop"], "'shop' would be allowed nothing; give --publish, --read,"),
        (["--name", "", "--admin"], "can't make the entry: entry 1: name must be 1 to 256"),
        (["--name", "a\nb", "--admin"], "name must be 1 to 256 characters without"),
        (["--name", "a\x7f", "--admin"], "entry 1: name must be 1 to 256 characters"),
        (["--name", "anonymous", "--admin"], "'anonymous' is the entry for those without a cred"),
        (["--name", "shop", "--read", "a*"], "entry 'shop': read must be the name of a topic, or"),
        (["--name", "shop", "--admin", "--expires", "soon"], "--expires: 'soon' is not an"),
        (["--name", "shop", "--admin", "--expires", "2001-01-31"], "must be after now"),
        (["--name", "shop", "--admin", "--expires", "0d"], "must be after now"),
        (["--name", "shop", "--admin", "--expires", "999999999d"], "must be after now and before"),
        (["--name", "shop", "--admin", "--streams", "-1"], "streams must be a whole number of at"),
        (["--name", "shop", "--admin", "--streams", "x"], "--streams: invalid int value: 'x' (see"),
        (["--name", "shop", "--admin", "--certificate", "shop"], "certificate must be a name with"),
        (["--name", "shop", "--admin", "--add-to", "no/t"], "add to the tokens file"),
        (["--name", "shop", "--admin", "--add-to", "broken.toml"], "broken.toml' is broken: it"),
        (["--name", "till", "--admin", "--add-to", "till.toml"], "has an entry 'till' already"),
        (["--admin"], "the following arguments are required: --name"),
        (["--name", "shop", "--adm"], "unrecognized arguments: --adm; did you mean --admin?"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_new_that_is_wrong_is_one_sentence_and_changes_nothing(
    tmp_path: Path, refused: Refused, arguments: list[str], sentence: str
) -> None:
    (tmp_path / "broken.toml").write_text("entries = 1\n")
    (tmp_path / "till.toml").write_text("[[entry]]\nname = 'till'\n")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sentence in refused("new", *arguments)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("token", "arguments", "sentence"),
    [
        ("", "--action admin", "there is no token; give it in AGGREGATOR_TOKEN or on standard"),
        ("{}0", "--action admin", "the token's checksum is not that of its characters"),
        ("{} {}", "--action admin", "what was given as a token is none"),
        ("{}é", "--action admin", "what was given as a token is none"),
        ("{}", "--action erase", "argument --action: invalid choice: 'erase'"),
        ("{}", "--topic orders", "the following arguments are required: --action"),
        ("{}", "--action read", "--action read needs --topic"),
        ("{}", "--action subscribe", "--action subscribe needs --subscription"),
        ("{}", "--action subscribe --topic a", "--action subscribe goes without --topic"),
        ("{}", "--action admin --topic orders", "--action admin goes without --topic"),
        ("{}", "--action read --topic or*", "--topic must be 1 to 249 characters of"),
        ("{}", "--action admin --tokens missing", "can't read the tokens file 'missing': No such"),
        ("{}", "--action admin --tokens broken", "the tokens file 'broken' is broken: it is not"),
    ],
)
def test_check_that_can_not_tell_is_one_sentence(
    tmp_path: Path, refused: Refused, token: str, arguments: str, sentence: str
) -> None:
    (tmp_path / "tokens.toml").touch()
    (tmp_path / "broken").write_text("[[entry")
    secret = new_token()
    given = token.replace("{}", secret)
    told = refused("check", "--tokens", "tokens.toml", *arguments.split(), given=given)
    assert told.startswith(sentence)
    assert secret[4:] not in told


@pytest.mark.parametrize("where", ["", "new", "check", "check --topic", "check --token"])
def test_token_among_the_arguments_is_not_repeated(refused: Refused, where: str) -> None:
    token = new_token()
    assert token[4:] not in refused(*where.split(), token)

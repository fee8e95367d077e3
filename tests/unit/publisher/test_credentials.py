"""What credentials are made of, and the one sentence that says what can't be used, without it."""

import copy
import os
import re
import threading
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st
from support.tls import Authority

from publisher.credentials import Credentials, check_header
from publisher.tokens import MAX_TOKEN_CHARACTERS, CredentialsInvalid, TokenFile, parse_token

SECRET = "agg_0123456789"
TEXTS = st.text(st.sampled_from([*"ab~!_- \t\n\r", "\x00", "\x7f", "é", "\u2028"]), max_size=12)


@given(TEXTS)
def test_a_token_is_what_a_header_can_carry_and_nothing_else(text: str) -> None:
    middle = text.strip()
    is_token = middle != "" and all("!" <= character <= "~" for character in middle)
    if is_token:
        assert parse_token(text, "it") == middle
        return
    with pytest.raises(CredentialsInvalid, match=r"^it (is|has) "):
        parse_token(text, "it")


Write = Callable[[Path], object]


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda _: None, "cannot be read: No such file or directory"),
        (Path.mkdir, "cannot be read: Is a directory"),
        (lambda path: path.write_text("\n \n"), "is empty, where a token is to be"),
        (
            lambda path: path.write_text(f"{SECRET}\n\n[[entry]]\n"),
            "has 3 lines, where the token alone is to be, on one line",
        ),
        (
            lambda path: path.write_text(f"{SECRET} {SECRET}"),
            "has a character that a header cannot carry: a token is printable ASCII without spaces",
        ),
        (
            lambda path: path.write_text(SECRET, encoding="utf-16"),
            "has a character that a header cannot carry: a token is printable ASCII without spaces",
        ),
        (
            lambda path: path.write_text("x" * (MAX_TOKEN_CHARACTERS + 1)),
            "is longer than a token, which has 8,000 characters at most",
        ),
    ],
)
def test_a_token_file_that_holds_no_token_is_refused(
    write: Write, sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    write(path)
    with pytest.raises(CredentialsInvalid) as refused:
        Credentials(token_file=path)
    assert str(refused.value) == f"the token file '{path}' {sentence}"


def test_a_token_file_goes_with_white_space_around_the_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"  " + SECRET.encode() + b"\r\n\n")
    assert TokenFile(path).current() == SECRET


def test_a_token_file_is_followed_however_it_is_replaced(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    link = tmp_path / "token"
    first.write_text("one")
    second.write_text("two")
    link.symlink_to(first)
    file = TokenFile(link)
    assert file.current() == "one"
    # As Kubernetes does it: what a link leads to is another file.
    turned = tmp_path / "turned"
    turned.symlink_to(second)
    turned.rename(link)
    assert file.current() == "two"
    second.write_text("three")
    assert file.current() == "three"
    second.unlink()
    assert (file.current(), file.fault) == (
        "three",
        f"the token file '{link}' cannot be read: No such file or directory",
    )
    second.write_text("four")
    assert (file.current(), file.fault) == ("four", None)


def test_a_file_that_is_written_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token"
    path.write_text("one")

    class Overtaken(FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(size)
            os.truncate(path, 0)
            os.pwrite(writing, b"second", 0)
            return content

    writing = os.open(path, os.O_WRONLY)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", lambda path, _: Overtaken(path, "r"))
        file = TokenFile(path)
    os.close(writing)
    assert file.current() == "second"


@pytest.mark.timeout(20)
def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writing = threading.Thread(target=path.write_text, args=(f"{SECRET}\n",))
    writing.start()
    file = TokenFile(path)
    writing.join()
    # It would wait for another writer for ever.
    assert [file.current(), file.read_again()] == [SECRET, SECRET]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("Authorization", SECRET, "the header Authorization is not given as a header: a token is"),
        ("AUTHORIZATION", SECRET, "the header Authorization is not given as a header: a token is"),
        ("User-Agent", SECRET, "the header User-Agent is set by the client itself"),
        ("content-length", "1", "the header content-length is set by the client itself"),
        ("X Y", SECRET, "'X Y' is not the name of a header"),
        ("", SECRET, "'' is not the name of a header"),
        ("X", f"{SECRET}\r\nY: z", "the value of the header X has a character that is not"),
        ("X", "\x00", "the value of the header X has a character that is not printable ASCII"),
        ("X", "é", "the value of the header X has a character that is not printable ASCII"),
    ],
)
def test_a_header_that_cannot_be_given_is_refused(name: str, value: str, sentence: str) -> None:
    with pytest.raises(CredentialsInvalid, match=f"^{re.escape(sentence)}") as refused:
        Credentials(headers={name: value})
    assert SECRET not in str(refused.value)
    check_header("X-Tenant", "north 1")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def test_certificates_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.write_client(tmp_path)
    _, other_key = authority.write_client(tmp_path, "other")
    ca_file = authority.write(tmp_path / "ca.pem")
    garbage, missing = tmp_path / "garbage", tmp_path / "missing"
    garbage.write_text(SECRET)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        load_pem_private_key(key.read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
        )
    )
    for given_files, sentence in [
        ({"ca_file": missing}, f"the CA file '{missing}' cannot be used: No such file"),
        (
            {"ca_file": garbage},
            f"the CA file '{garbage}' cannot be used: it does not hold what it should in PEM",
        ),
        ({"client_key": key}, "a client key goes with a client certificate, which is missing"),
        ({"ca_file": ca_file, "client_key": key}, "a client key goes with a client certificate"),
        ({"client_cert": missing}, f"the client certificate '{missing}' cannot be used: No such"),
        (
            {"client_cert": certificate, "client_key": missing},
            f"the client key '{missing}' cannot be used: No such file",
        ),
        (
            {"client_cert": certificate, "client_key": garbage},
            f"the client certificate '{certificate}' cannot be used: it does not hold what it",
        ),
        (
            {"client_cert": certificate, "client_key": other_key},
            f"the client certificate '{certificate}' cannot be used: its key is that of another",
        ),
        (
            {"client_cert": certificate, "client_key": locked},
            f"the client key '{locked}' has a passphrase: write it without one",
        ),
    ]:
        arguments: dict[str, Any] = dict(given_files)
        with pytest.raises(CredentialsInvalid, match=f"^{re.escape(sentence)}") as refused:
            Credentials(**arguments)
        assert SECRET not in str(refused.value)


def test_what_is_shown_of_credentials_has_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(SECRET)
    shown = [
        repr(Credentials()),
        repr(Credentials(token=SECRET, headers={"X-Key": SECRET})),
        repr(Credentials(token=lambda: SECRET)),
        repr(Credentials(token_file=path)),
    ]
    assert shown == [
        "Credentials()",
        "Credentials(token=..., headers of ['X-Key'])",
        "Credentials(token=...)",
        f"Credentials(token_file='{path}')",
    ]
    assert SECRET not in f"{copy.copy(Credentials(token=SECRET)).present()!r}"


def test_a_token_and_a_token_file_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(CredentialsInvalid, match=r"^a token and a token file do not go together$"):
        Credentials(token=SECRET, token_file=tmp_path / "token")


@pytest.mark.parametrize("given_token", ["", "a b", "é", f"{SECRET}\n{SECRET}"])
def test_a_token_that_is_none_is_refused(given_token: str) -> None:
    with pytest.raises(CredentialsInvalid, match=r"^the token (is empty|has )") as refused:
        Credentials(token=given_token)
    assert SECRET not in str(refused.value)

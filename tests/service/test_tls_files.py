"""What is wrong with the files of TLS is told in one sentence, before anything is served."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support.command import run_to_end
from support.processes import Aggregator
from support.tls import Authority, Pair


class Fault(NamedTuple):
    """What is done to good files, the options that are given then, and the sentence.

    A star stands for a reason in brackets, which not every OpenSSL gives.
    """

    spoil: Callable[[Pair], object]
    options: tuple[str, ...]
    sentence: str


def cut(file: Path) -> None:
    """Leave half of a file."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def scramble(file: Path) -> None:
    """Keep the form of PEM, and nothing of what is in it."""
    first, *_, last = file.read_text().splitlines()
    file.write_text(f"{first}\nAAAA\n{last}\n")


def encrypt(pair: Pair) -> None:
    encrypted = pair.key.with_name("encrypted")
    subprocess.run(
        ["openssl", "pkey", "-in", pair.key, "-aes256", "-passout", "pass:hush", "-out", encrypted],
        check=True,
    )
    encrypted.replace(pair.key)


def take_another_key(pair: Pair) -> None:
    other = Authority().pair(pair.key.parent / "other", "127.0.0.1")
    other.key.replace(pair.key)


def nothing(_pair: Pair) -> None:
    """Leave them as they are."""


BOTH = ("--tls-cert", "tls.crt", "--tls-key", "tls.key")
ASKING = (*BOTH, "--tls-client-ca", "ca.pem")

FAULTS = {
    "a key alone": Fault(
        nothing,
        ("--tls-key", "tls.key"),
        "--tls-key is of no use without --tls-cert, its certificate",
    ),
    "an authority without TLS": Fault(
        nothing,
        ("--tls-client-ca", "ca.pem"),
        "--tls-client-ca asks for certificates of clients, which needs TLS: give --tls-cert",
    ),
    "demanded of nobody": Fault(
        nothing,
        (*BOTH, "--tls-client-required", "on"),
        "--tls-client-required on needs --tls-client-ca, the authorities whose certificates are "
        "taken",
    ),
    "demanded how": Fault(
        nothing,
        (*ASKING, "--tls-client-required", "yes"),
        "--tls-client-required: must be 'off' or 'on', not 'yes'",
    ),
    "no certificate": Fault(
        lambda pair: pair.cert.unlink(),
        BOTH,
        "--tls-cert: can't read 'tls.crt': No such file or directory",
    ),
    "no key": Fault(
        lambda pair: pair.key.unlink(),
        BOTH,
        "--tls-key: can't read 'tls.key': No such file or directory",
    ),
    "no authorities": Fault(
        nothing,
        (*BOTH, "--tls-client-ca", "none.pem"),
        "--tls-client-ca: can't read 'none.pem': No such file or directory",
    ),
    "a directory": Fault(
        nothing, ("--tls-cert", "."), "--tls-cert: can't read '.': Is a directory"
    ),
    "an empty certificate": Fault(
        lambda pair: pair.cert.write_text(""),
        BOTH,
        "--tls-cert: there is no certificate in PEM form in 'tls.crt'",
    ),
    "an empty key": Fault(
        lambda pair: pair.key.write_text(""),
        BOTH,
        "--tls-key: there is no private key in PEM form in 'tls.key'",
    ),
    "no key behind the certificate": Fault(
        nothing,
        ("--tls-cert", "tls.crt"),
        "--tls-cert: there is no private key in PEM form in 'tls.crt'; name its file with "
        "--tls-key",
    ),
    "no authority in it": Fault(
        nothing,
        (*BOTH, "--tls-client-ca", "tls.key"),
        "--tls-client-ca: there is no certificate in PEM form in 'tls.key'",
    ),
    "half a certificate": Fault(
        lambda pair: cut(pair.cert),
        BOTH,
        "--tls-cert: a certificate in 'tls.crt' is broken or cut short*",
    ),
    "a scrambled certificate": Fault(
        lambda pair: scramble(pair.cert),
        BOTH,
        "--tls-cert: a certificate in 'tls.crt' is broken or cut short*",
    ),
    "half a key": Fault(
        lambda pair: cut(pair.key), BOTH, "--tls-key: the key in 'tls.key' is broken or cut short*"
    ),
    "a scrambled key": Fault(
        lambda pair: scramble(pair.key),
        BOTH,
        "--tls-key: the key in 'tls.key' is broken or cut short*",
    ),
    "half an authority": Fault(
        lambda pair: cut(pair.cert.with_name("ca.pem")),
        ASKING,
        "--tls-client-ca: a certificate in 'ca.pem' is broken or cut short*",
    ),
    "an encrypted key": Fault(
        encrypt, BOTH, "--tls-key: the key in 'tls.key' is encrypted; give one without a passphrase"
    ),
    "the key of another": Fault(
        take_another_key,
        BOTH,
        "--tls-key: the key in 'tls.key' is not that of the certificate in 'tls.crt'",
    ),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_with_the_files_is_told_in_one_sentence(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    authority = Authority()
    authority.write(tmp_path / "ca.pem")
    fault.spoil(authority.pair(tmp_path, "127.0.0.1"))
    ended = run_to_end("--port", "0", *fault.options, cwd=tmp_path)
    assert ended.code == 2
    expected = re.escape(f"aggregator: {fault.sentence}\n").replace(r"\*", r"( \([^()\n]+\))?")
    assert re.fullmatch(expected, ended.err), ended.err
    assert not (tmp_path / "aggregator.db").exists()


def test_a_key_behind_its_certificate_in_one_file_is_enough(
    run_aggregator: Callable[..., Aggregator], tmp_path: Path
) -> None:
    pair = Authority().pair(tmp_path, "127.0.0.1")
    pair.cert.write_bytes(pair.cert.read_bytes() + pair.key.read_bytes())
    pair.cert.chmod(0o600)
    aggregator = run_aggregator("--tls-cert", str(pair.cert))
    assert aggregator.url.startswith("https://127.0.0.1:")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_key_that_everybody_may_read_is_warned_of_once(
    run_aggregator: Callable[..., Aggregator], tmp_path: Path, mode: int
) -> None:
    authority = Authority()
    pair = authority.pair(tmp_path, "127.0.0.1")
    pair.key.chmod(mode)
    aggregator = run_aggregator(*pair.options())
    aggregator.trusting = authority.trusting()
    told = [line["file"] for line in aggregator.log_lines("tls_key_exposed")]
    assert told == ([str(pair.key)] if mode == 0o644 else [])

"""The options of each command that say where an aggregator is, and what to show it."""

import argparse
import os
import stat
from ipaddress import ip_address
from pathlib import Path

from yarl import URL

from publisher import cli
from publisher.credentials import Credentials, check_header
from publisher.tokens import CredentialsInvalid, parse_token

URL_VARIABLE = "AGGREGATOR_URL"
TOKEN_VARIABLE = "AGGREGATOR_TOKEN"  # noqa: S105 - the name of a variable


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add --url, and the options of credentials and TLS; `take` makes use of them."""
    parser.add_argument(
        "--url",
        default=os.environ.get(URL_VARIABLE) or cli.DEFAULT_URL,
        type=_url,
        # Not as it is: a URL may have a password.
        help=f"of the aggregator (default: the environment variable {URL_VARIABLE}, else "
        f"{cli.DEFAULT_URL})",
    )
    group = parser.add_argument_group("credentials and TLS")
    group.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="the file with the token alone; it is read again when it has changed (default: the "
        f"token in the environment variable {TOKEN_VARIABLE}, if there is one)",
    )
    group.add_argument(
        "--ca",
        metavar="FILE",
        type=Path,
        help="trust the certificates in this PEM file, in place of those of this machine",
    )
    group.add_argument(
        "--client-cert", metavar="FILE", type=Path, help="show the certificate in this PEM file"
    )
    group.add_argument(
        "--client-key",
        metavar="FILE",
        type=Path,
        help="the key of it, without a passphrase (default: it is in the file of --client-cert)",
    )
    group.add_argument(
        "--header",
        metavar="'NAME: VALUE'",
        dest="headers",
        action="append",
        default=[],
        type=_header,
        help="send this header, too; may be given several times. It is seen in lists of "
        "processes, so it is not for secrets",
    )


def take(parsed: argparse.Namespace) -> list[str]:
    """Make `parsed.credentials` of the options and the environment.

    Args:
        parsed: the command line.

    Returns:
        Sentences that warn of what is dangerous.

    Raises:
        CredentialsInvalid: something can't be used, or does not go together; one sentence.
    """
    headers: dict[str, str] = {}
    for name, value in parsed.headers:
        if any(name.lower() == other.lower() for other in headers):
            raise CredentialsInvalid(f"--header gives {name} twice")
        headers[name] = value
    token = None
    if parsed.token_file is None and (text := os.environ.get(TOKEN_VARIABLE)):
        token = parse_token(text, f"the environment variable {TOKEN_VARIABLE}")
    credentials = Credentials(
        token=token,
        token_file=parsed.token_file,
        ca_file=parsed.ca,
        client_cert=parsed.client_cert,
        client_key=parsed.client_key,
        headers=headers,
    )
    credentials.check_url(parsed.url)
    parsed.credentials = credentials
    return _warnings(parsed, credentials)


def _warnings(parsed: argparse.Namespace, credentials: Credentials) -> list[str]:
    warnings = [
        f"every user of this machine can read {str(path)!r}; have only its owner read it: chmod 600"
        for path in (parsed.token_file, parsed.client_key)
        if path is not None and _is_open_to_all(path)
    ]
    url = URL(parsed.url)
    if credentials.has_token and url.scheme == "http" and not _is_loopback(url.host or ""):
        warnings.append(
            f"the token goes to {url.host} unencrypted, where anybody on the way can read it: use "
            "a URL that begins with https:"
        )
    return warnings


def _is_open_to_all(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False  # gone since it was read
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)


def _is_loopback(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _url(text: str) -> str:
    """An http or https URL, from the command line or the environment."""
    try:
        return cli.url(text)
    except argparse.ArgumentTypeError as error:
        if text != os.environ.get(URL_VARIABLE):
            raise
        raise argparse.ArgumentTypeError(f"{error} (of {URL_VARIABLE})") from None


def _header(text: str) -> tuple[str, str]:
    """A header as HTTP has it: its name, a colon, its value."""
    name, colon, value = text.partition(":")
    if not colon:
        # Without the text: it may be a secret.
        raise argparse.ArgumentTypeError("a header is written 'Name: value', with a colon")
    name, value = name.strip(), value.strip()
    try:
        check_header(name, value)
    except CredentialsInvalid as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name, value

"""The credentials of a client: its token, whom it trusts, its certificate, and further headers.

credentials = Credentials(token_file="/run/secrets/token", ca_file="/etc/ssl/internal.pem")
async with Publisher("https://events.example.org", credentials=credentials) as publisher:
    ...
"""

import os
import re
import ssl
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import aiohttp
from yarl import URL

from publisher.tokens import (
    CredentialsInvalid,
    FixedToken,
    Token,
    TokenFile,
    TokenFunction,
    TokenUnavailable,
)

_HIDDEN = "(token)"
_SCHEME = "Bearer "
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
# What a client sends in them is not for others to decide.
_OWN_HEADERS = frozenset(
    {
        "accept", "accept-encoding", "cache-control", "connection", "content-encoding",
        "content-length", "content-type", "expect", "keep-alive", "last-event-id", "prefer", "te",
        "trailer", "transfer-encoding", "upgrade", "user-agent", "x-request-id",
    }
)  # fmt: skip
_REFUSING_STATUSES = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

StrPath = str | os.PathLike[str]


class Refusal(NamedTuple):
    """A refused request, as far as it is about credentials.

    Args:
        reason: why it was refused, one sentence.
        may_pass: whether another token is there by now, with which it has not been sent.
    """

    reason: str
    may_pass: bool


class Presented:
    """The credentials of one request, as they are sent.

    Args:
        headers: the headers of the request.
        token: the token among them; None: there is none.
        source: where the token comes from.
    """

    def __init__(self, headers: Mapping[str, str], token: str | None, source: Token | None) -> None:
        self.headers = headers
        self._token = token
        self._source = source

    def hide(self, text: str) -> str:
        """Return a text of the server without the token, should it repeat that."""
        return text if self._token is None else text.replace(self._token, _HIDDEN)

    def refusal(self, status: int, reason: str) -> Refusal:
        """Class an answer that is no success.

        Args:
            status: its status.
            reason: why it refuses, one sentence.
        """
        if status not in _REFUSING_STATUSES:
            return Refusal(reason, may_pass=False)
        if self._source is None:
            if status == HTTPStatus.UNAUTHORIZED:
                reason += "; no token was sent (--token-file, AGGREGATOR_TOKEN or Credentials)"
            return Refusal(reason, may_pass=False)
        try:
            is_another = self._source.read_again() != self._token
        except (TokenUnavailable, CredentialsInvalid) as error:
            return Refusal(f"{reason}; {error}", may_pass=False)
        if is_another:
            return Refusal(f"{reason}; there is another token by now", may_pass=True)
        if fault := self._source.fault:
            reason += f"; {fault}"
        return Refusal(reason, may_pass=False)


class Credentials:
    """What a client shows an aggregator, and by what it knows the aggregator.

    One object may serve several clients, in several threads.

    Args:
        token: the token, or a function that returns it, which is called for each request in the
            event loop, so that it must not take long.
        token_file: a file with the token alone. It is read again when it has changed, and when the
            token was refused; what can't be read then leaves the token before in force.
        ca_file: a PEM file with the certificates to trust, in place of those of this machine.
        client_cert: a PEM file with the certificate of the client and those that lead to its
            authority.
        client_key: a PEM file with the key of that, without a passphrase; None: it is in
            `client_cert`.
        headers: further headers of each request, for what stands before the aggregator.

    Raises:
        CredentialsInvalid: one of them can't be used, or they do not go together. It is a
            ValueError, and its sentence never has the token.
    """

    def __init__(
        self,
        *,
        token: str | Callable[[], str] | None = None,
        token_file: StrPath | None = None,
        ca_file: StrPath | None = None,
        client_cert: StrPath | None = None,
        client_key: StrPath | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if token is not None and token_file is not None:
            raise CredentialsInvalid("a token and a token file do not go together")
        self._token = _token_of(token, token_file)
        self._headers = dict(headers or {})
        for name, value in self._headers.items():
            check_header(name, value)
        self._tls = _tls_context(ca_file, client_cert, client_key)
        self._files = {
            "token_file": token_file,
            "ca_file": ca_file,
            "client_cert": client_cert,
            "client_key": client_key,
        }

    def __repr__(self) -> str:
        """Return what may be shown of it: files and names, no token and no value of a header."""
        given = [f"{name}={os.fspath(path)!r}" for name, path in self._files.items() if path]
        if self._token is not None and not self._files["token_file"]:
            given.insert(0, "token=...")
        if self._headers:
            given.append(f"headers of {sorted(self._headers)}")
        return f"Credentials({', '.join(given)})"

    def check_url(self, url: str) -> None:
        """Check that the credentials go with the URL of an aggregator.

        Raises:
            CredentialsInvalid: they do not; one sentence.
        """
        parsed = URL(url)
        if self._token is not None and parsed.user is not None:
            raise CredentialsInvalid(
                "a token does not go with a user in the URL: both are the header Authorization"
            )
        if self._tls is not None and parsed.scheme != "https":
            raise CredentialsInvalid(
                "certificates are for TLS, and so for a URL that begins with https:, "
                f"not with {parsed.scheme}:"
            )

    def connector(self, limit: int = 100) -> aiohttp.TCPConnector:
        """Return what makes the connections of a session.

        Args:
            limit: at most so many connections at once.
        """
        return aiohttp.TCPConnector(limit=limit, ssl=self._tls or True)

    def present(self) -> Presented:
        """Return the credentials of the next request.

        Raises:
            TokenUnavailable: the function gave no token now.
            CredentialsInvalid: what the function returned is no token.
        """
        if self._token is None:
            return Presented(self._headers, None, None)
        token = self._token.current()
        headers = {**self._headers, "Authorization": f"{_SCHEME}{token}"}
        return Presented(headers, token, self._token)

    @property
    def has_token(self) -> bool:
        """Whether requests have a token."""
        return self._token is not None


def check_header(name: str, value: str) -> None:
    """Check a further header.

    Raises:
        CredentialsInvalid: it can't be sent, or is not for others to set; one sentence without its
            value, which may be secret.
    """
    if not _NAME.fullmatch(name):
        raise CredentialsInvalid(f"{name!r} is not the name of a header")
    if name.lower() == "authorization":
        raise CredentialsInvalid(
            "the header Authorization is not given as a header: a token is given by --token-file, "
            "AGGREGATOR_TOKEN or Credentials(token=...)"
        )
    if name.lower() in _OWN_HEADERS:
        raise CredentialsInvalid(f"the header {name} is set by the client itself")
    if not _VALUE.fullmatch(value):
        raise CredentialsInvalid(
            f"the value of the header {name} has a character that is not printable ASCII"
        )


def _token_of(
    token: str | Callable[[], str] | None, token_file: StrPath | None
) -> FixedToken | TokenFile | TokenFunction | None:
    if token_file is not None:
        return TokenFile(token_file)
    if token is None:
        return None
    return FixedToken(token, "the token") if isinstance(token, str) else TokenFunction(token)


def _tls_context(
    ca_file: StrPath | None, client_cert: StrPath | None, client_key: StrPath | None
) -> ssl.SSLContext | None:
    """Return the context of TLS; None: that of every client of this machine."""
    if client_key is not None and client_cert is None:
        raise CredentialsInvalid("a client key goes with a client certificate, which is missing")
    if ca_file is None and client_cert is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        assert ca_file is not None  # noqa: S101 - nothing else is read
        raise _unusable("the CA file", ca_file, error) from error
    context.set_alpn_protocols(("http/1.1",))
    if client_cert is not None:
        _load_certificate(context, client_cert, client_key)
    return context


def _load_certificate(
    context: ssl.SSLContext, client_cert: StrPath, client_key: StrPath | None
) -> None:
    for what, path in (("certificate", client_cert), ("key", client_key)):
        if path is not None:
            try:
                # Of two files, OpenSSL does not say which one it could not open.
                with Path(path).open("rb") as file:
                    file.read(1)
            except OSError as error:
                raise _unusable(f"the client {what}", path, error) from error

    def refuse() -> str:
        # Without it OpenSSL would ask at the terminal.
        raise CredentialsInvalid(
            f"the client key {os.fspath(client_key or client_cert)!r} has a passphrase: write it "
            "without one to a file that only its owner can read"
        )

    try:
        context.load_cert_chain(client_cert, client_key, refuse)
    except (OSError, ValueError) as error:
        if isinstance(error, CredentialsInvalid):
            raise
        raise _unusable("the client certificate", client_cert, error) from error


def _unusable(what: str, path: StrPath, error: Exception) -> CredentialsInvalid:
    reason = str(error)
    if isinstance(error, ssl.SSLError):
        reason = "its key is that of another certificate"
        if error.reason != "KEY_VALUES_MISMATCH":
            reason = f"it does not hold what it should in PEM ({error.reason or 'not readable'})"
    elif isinstance(error, OSError):
        reason = error.strerror or reason
    return CredentialsInvalid(f"{what} {os.fspath(path)!r} cannot be used: {reason}")


NO_CREDENTIALS = Credentials()
"""Those of a client that was given none."""

"""The token of a client: given once, in a file that may be replaced, or from a function."""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

MAX_TOKEN_CHARACTERS = 8000
"""Shorter than the longest header that servers commonly take."""

_TOKEN = re.compile(r"[\x21-\x7e]+")


class CredentialsInvalid(ValueError):
    """Credentials can't be used; the message is one sentence, without the token."""


class TokenUnavailable(Exception):
    """A function gave no token now; the message is one sentence."""


class Token(Protocol):
    """Gives the token to send."""

    @property
    def fault(self) -> str | None:
        """Why the source can't be read any more, one sentence; None: it can."""

    def current(self) -> str:
        """Return the token.

        Raises:
            TokenUnavailable: there is none now.
            CredentialsInvalid: what was given is none.
        """

    def read_again(self) -> str:
        """Return the token as its source has it now, since the last one was refused.

        Raises:
            TokenUnavailable, CredentialsInvalid: as `current` does.
        """


def parse_token(text: str, subject: str) -> str:
    """Return the token in a text, without white space around it.

    Args:
        text: the text.
        subject: what holds it, as the sentence of an error begins.

    Raises:
        CredentialsInvalid: it holds no token.
    """
    token = text.strip()
    if not token:
        raise CredentialsInvalid(f"{subject} is empty, where a token is to be")
    if (lines := len(token.splitlines())) > 1:
        raise CredentialsInvalid(
            f"{subject} has {lines:,} lines, where the token alone is to be, on one line"
        )
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise CredentialsInvalid(
            f"{subject} is longer than a token, which has {MAX_TOKEN_CHARACTERS:,} characters at "
            "most"
        )
    if not _TOKEN.fullmatch(token):
        raise CredentialsInvalid(
            f"{subject} has a character that a header cannot carry: a token is printable ASCII "
            "without spaces"
        )
    return token


class FixedToken:
    """Gives always the same token.

    Args:
        text: the token.
        subject: what holds it, for people.

    Raises:
        CredentialsInvalid: it is none.
    """

    fault = None

    def __init__(self, text: str, subject: str) -> None:
        self._token = parse_token(text, subject)

    def current(self) -> str:
        """Return the token."""
        return self._token

    def read_again(self) -> str:
        """Return the same token."""
        return self._token


class TokenFunction:
    """Asks a function for the token of each request.

    Args:
        function: returns the token. It is called in the event loop, so it must not take long.
    """

    fault = None

    def __init__(self, function: Callable[[], str]) -> None:
        self._function = function

    def current(self) -> str:
        """Call the function; see `Token`."""
        try:
            text = self._function()
        except Exception as error:
            # Its text is not repeated: it may be about the token.
            raise TokenUnavailable(
                f"the function for the token raised {type(error).__name__}"
            ) from error
        if not isinstance(text, str):
            raise CredentialsInvalid(
                f"the function for the token returned {type(text).__name__}, not str"
            )
        return parse_token(text, "what the function for the token returned")

    def read_again(self) -> str:
        """Call the function; see `Token`."""
        return self.current()


class _Look(NamedTuple):
    """What tells one content of a file from the next."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class TokenFile:
    """Reads a token from a file, and again when the file has changed.

    A file that is broken later leaves the token in force that was read before. A pipe is read once.

    Args:
        path: the file.

    Raises:
        CredentialsInvalid: it can't be read, or holds no token.
    """

    def __init__(self, path: "str | os.PathLike[str]") -> None:
        self._path = Path(path)
        self._subject = f"the token file {os.fspath(self._path)!r}"
        self.fault: str | None = None
        self._token, self._seen = self._read()

    def current(self) -> str:
        """Return the token, read again if the file is another one than before."""
        if self._seen is not None and self._look() != self._seen:
            self.read_again()
        return self._token

    def read_again(self) -> str:
        """Return the token of the file as it is now; the one before, if that can't be read."""
        if self._seen is not None:
            try:
                self._token, self._seen = self._read()
            except CredentialsInvalid as error:
                self.fault = str(error)
            else:
                self.fault = None
        return self._token

    def _look(self) -> _Look | None:
        try:
            return _look_of(self._path.stat())
        except OSError:
            return None

    def _read(self) -> tuple[str, _Look | None]:
        try:
            with self._path.open("rb") as file:
                # Before its bytes: what is written while they are read shows at the next look.
                status = os.fstat(file.fileno())
                content = file.read(2 * MAX_TOKEN_CHARACTERS)
        except OSError as error:
            raise CredentialsInvalid(
                f"{self._subject} cannot be read: {error.strerror or type(error).__name__}"
            ) from error
        token = parse_token(content.decode("latin-1"), self._subject)
        return token, _look_of(status) if stat.S_ISREG(status.st_mode) else None


def _look_of(status: os.stat_result) -> _Look:
    return _Look(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )

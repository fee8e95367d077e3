"""Tokens: secret texts that name an entry of the tokens file.

A token is `agr_`, 256 random bits as 43 characters, and a checksum of both as 6 characters, all in
base 62. By the prefix and the checksum a scanner finds tokens where none should be, and a typing
error is told from a token that was revoked.
"""

import hashlib
import re
import secrets
import string
import zlib

PREFIX = "agr_"

_RANDOM_BYTES = 32
_RANDOM_CHARACTERS = 43
_CHECKSUM_CHARACTERS = 6
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_form = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM_CHARACTERS + _CHECKSUM_CHARACTERS}}}").fullmatch
_LIKE_A_TOKEN = re.compile(rf"{PREFIX}[0-9A-Za-z]+")


def new_token() -> str:
    """Return a token that nobody can guess."""
    number = int.from_bytes(secrets.token_bytes(_RANDOM_BYTES), "big")
    body = PREFIX + _base62(number, _RANDOM_CHARACTERS)
    return body + _checksum(body)


def is_well_formed(text: str) -> bool:
    """Return whether a text has the form of a token, and the checksum of its characters."""
    if _form(text) is None:
        return False
    return _checksum(text[:-_CHECKSUM_CHARACTERS]) == text[-_CHECKSUM_CHARACTERS:]


def digest_of(token: str) -> bytes:
    """Return the SHA-256 of a whole well-formed token, by which the tokens file names it."""
    return hashlib.sha256(token.encode("ascii")).digest()


def masked(text: str) -> str:
    """Return a text without the secret part of what looks like a token, for an error or the log."""
    return _LIKE_A_TOKEN.sub(f"{PREFIX}…", text)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECKSUM_CHARACTERS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))

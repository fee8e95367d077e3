"""The tokens file: TOML with an `[[entry]]` for each who may do something."""

import os
import stat
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from aggregator.access import entry_fields
from aggregator.access.entries import ANONYMOUS, NO_LIMITS, Entry, EntryLimits
from aggregator.access.entry_fields import FieldBroken
from aggregator.access.tokens import masked

MAX_FILE_BYTES = 16 * 2**20
"""Greatest size of a tokens file: a hundred thousand entries."""

_LIMITS: Mapping[str, Callable[[object], int]] = {
    # Without events there would be no publishing, which is for `publish` to say.
    "events_per_second": entry_fields.whole_number(1),
    "bytes_per_second": entry_fields.whole_number(1),
    "streams": entry_fields.whole_number(0),
    "subscriptions": entry_fields.whole_number(0),
    "new_topics_per_day": entry_fields.whole_number(0),
}
_FIELDS: Mapping[str, tuple[str, Callable[[object], object]]] = {
    "name": ("name", entry_fields.entry_name),
    "sha256": ("digests", entry_fields.digests),
    "publish": ("publish", entry_fields.patterns),
    "read": ("read", entry_fields.patterns),
    "subscribe": ("subscribe", entry_fields.patterns),
    "admin": ("admin", entry_fields.flag),
    "metrics": ("metrics", entry_fields.flag),
    "source": ("source", entry_fields.source),
    "expires": ("expires_us", entry_fields.expires_us),
    "certificate": ("certificate", entry_fields.certificate),
}
"""The keys of an entry, each with its name in Python and its check."""


class TokensFileBroken(Exception):
    """A tokens file can't be used; the message is one sentence that names it, without a token."""


def load(path: Path) -> tuple[Entry, ...]:
    """Read a tokens file and return its entries.

    Raises:
        TokensFileBroken: it can't be read, or breaks a rule.
    """
    return parse(read(path), path)


def read(path: Path) -> bytes:
    """Return the content of a tokens file.

    Raises:
        TokensFileBroken: it can't be read, is no regular file, or is too large.
    """
    try:
        # A pipe would be waited for, and has nothing at the second look.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise _broken(path, "it is not a regular file")
            with open(file, "rb", closefd=False) as opened:
                content = opened.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        # A path with a NUL is a ValueError.
        reason = error.strerror if isinstance(error, OSError) else None
        raise TokensFileBroken(
            f"can't read the tokens file {str(path)!r}: {reason or error}"
        ) from None
    if len(content) > MAX_FILE_BYTES:
        raise _broken(path, f"it has more than {MAX_FILE_BYTES} bytes")
    return content


def parse(content: bytes, path: Path) -> tuple[Entry, ...]:
    """Parse the content of a tokens file.

    Args:
        content: all of it.
        path: of the file, for the sentence of an error.

    Returns:
        Its entries, in their order.

    Raises:
        TokensFileBroken: it is no TOML, or breaks a rule.
    """
    try:
        return parse_entries(content.decode())
    except UnicodeDecodeError as error:
        raise _broken(path, f"it is not UTF-8 at byte {error.start}") from None
    except FieldBroken as error:
        raise _broken(path, str(error)) from None


def parse_entries(text: str) -> tuple[Entry, ...]:
    """Parse entries in TOML.

    Raises:
        FieldBroken: they are no TOML, or break a rule; the message is the end of a sentence.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        said = "it nests too deep" if isinstance(error, RecursionError) else masked(str(error))
        raise FieldBroken(f"it is not TOML: {said}") from None
    if unknown := sorted(document.keys() - {"entry"}):
        raise FieldBroken(f"it has {masked(unknown[0])!r}, where [[entry]] alone is known")
    tables = document.get("entry", [])
    if not _are_tables(tables):
        raise FieldBroken("its entries must be tables that begin with [[entry]]")
    entries = tuple(_entry(table, place) for place, table in enumerate(tables, 1))
    for sentence in _repeated(entries):
        raise FieldBroken(sentence)
    return entries


def _are_tables(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _entry(table: Mapping[str, Any], place: int) -> Entry:
    called = f"entry {place}"
    if "name" not in table:
        raise FieldBroken(f"{called} has no name")
    values: dict[str, Any] = {}
    limits: dict[str, int] = {}
    # By its name an entry is found sooner than by its place.
    for key in sorted(table, key=lambda key: key != "name"):
        if key not in _FIELDS and key not in _LIMITS:
            known = ", ".join([*_FIELDS, *_LIMITS])
            raise FieldBroken(f"{called}: {masked(key)!r} is not known; there are {known}")
        try:
            if key in _LIMITS:
                limits[key] = _LIMITS[key](table[key])
            else:
                name, check = _FIELDS[key]
                values[name] = check(table[key])
        except FieldBroken as error:
            raise FieldBroken(f"{called}: {key} {error}") from None
        if key == "name":
            called = f"entry {masked(values['name'])!r}"
    if values["name"] == ANONYMOUS and (values.get("digests") or "certificate" in values):
        raise FieldBroken(
            f"{called} is for those without a credential, and can have no sha256 and no certificate"
        )
    return Entry(**values, limits=EntryLimits(**limits) if limits else NO_LIMITS)


def _repeated(entries: Sequence[Entry]) -> Iterator[str]:
    yield from (f"entry {name!r} is there twice" for name in _twice(each.name for each in entries))
    digests = _twice(digest.sha256 for each in entries for digest in each.digests)
    for sha256 in digests:
        having = [each.name for each in entries for d in each.digests if d.sha256 == sha256]
        yield f"entry {having[1]!r}: sha256 has {sha256.hex()}, which entry {having[0]!r} has"
    certificates = _twice(each.certificate for each in entries if each.certificate is not None)
    for certificate in certificates:
        having = [each.name for each in entries if each.certificate == certificate]
        yield f"entry {having[1]!r}: certificate {certificate!r} is that of entry {having[0]!r}"


def _twice(values: Iterator[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]


def _broken(path: Path, reason: str) -> TokensFileBroken:
    return TokensFileBroken(f"the tokens file {str(path)!r} is broken: {reason}")

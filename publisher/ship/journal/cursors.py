"""Cursors of the journal: which entry one names, also in a copy of its journal."""

import re
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import NamedTuple

_CURSOR = re.compile(rb'"__CURSOR"\s*:\s*"([^"\\]+)"')
"""In a JSON line no text can hold this, since quotes in a text are escaped."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Moment(NamedTuple):
    """When an entry was written, by its boot's clock.

    Args:
        boot: the id of the boot.
        monotonic: microseconds since the boot, hexadecimal.
    """

    boot: str
    monotonic: str


class Place(NamedTuple):
    """A cursor, without the sequence numbers that differ from copy to copy of a journal.

    Args:
        moment: when the entry was written, by its boot's clock.
        realtime: microseconds since 1970, hexadecimal.
        digest: a digest of the entry's fields, hexadecimal.
    """

    moment: Moment
    realtime: str
    digest: str


def cursor_of(line: bytes) -> str | None:
    """Find the cursor in a line of `journalctl --output=json`.

    Args:
        line: a JSON object.

    Returns:
        The value of `__CURSOR`; None if the line is no entry.
    """
    found = _CURSOR.search(line)
    return found[1].decode("ascii", "replace") if found and line.startswith(b"{") else None


def place_of(cursor: str) -> Place | None:
    """Take a cursor apart.

    Args:
        cursor: `s=…;i=…;b=…;m=…;t=…;x=…`.

    Returns:
        The place; None if the cursor lacks a part of it.
    """
    parts = dict(part.partition("=")[::2] for part in cursor.split(";"))
    try:
        return Place(Moment(parts["b"], parts["m"]), parts["t"], parts["x"])
    except KeyError:
        return None


def without_numbers(cursor: str) -> str:
    """A cursor by which journalctl looks for the time of an entry, not for its sequence number.

    When journald moves what it wrote early in a boot from memory to disk, it numbers it anew.
    """
    parts = [part for part in cursor.split(";") if not part.startswith(("s=", "i="))]
    return ";".join(parts) if place_of(cursor) else cursor


def time_of(cursor: str | None) -> str:
    """The time of the entry that a cursor names, for people."""
    place = place_of(cursor or "")
    try:
        time = _EPOCH + int(place.realtime, 16) * _MICROSECOND if place else None
    except (OverflowError, ValueError):
        time = None
    return time.isoformat().replace("+00:00", "Z") if time else "an unknown time"


class Finding(Enum):
    """What an entry is to one that is looked for."""

    BEHIND = auto()
    """The other was found before."""
    FOUND = auto()
    BESIDE = auto()
    """Both were written in one microsecond, in either order."""
    MISSED = auto()
    """The other would have come before."""


class Search:
    """Looks for the entry of a cursor among the entries from its place on.

    A copy of a journal has the entry under another cursor.

    Args:
        cursor: the cursor; None if every entry is behind it.
    """

    def __init__(self, cursor: str | None) -> None:
        self._cursor = cursor
        self._place = None if cursor is None else place_of(cursor)
        self.is_over = cursor is None

    def look(self, cursor: str) -> Finding:
        """Compare the next entry, by its cursor."""
        if self.is_over:
            return Finding.BEHIND
        place = place_of(cursor)
        if cursor == self._cursor or (place and place == self._place):
            self.is_over = True
            return Finding.FOUND
        if self._place and place and place.moment == self._place.moment:
            return Finding.BESIDE
        self.is_over = True
        return Finding.MISSED

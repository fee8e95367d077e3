"""Which files belong to a log: the names that rotation gives to its earlier contents."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_DATE = r"\d{4}-?\d{2}-?\d{2}(?:[-._T]?\d{2,})*"
_COMPRESSED = r"(?:gz|bz2|xz|zst|lz4|lzma|Z|zip)\Z"
_ROTATED = (
    # app.log.1, app.log-20260131, app.log.2026-01-31
    re.compile(rf"(?P<name>.+?)(?:\.\d{{1,5}}|[-._]{_DATE})", re.DOTALL),
    # app-20260131.log
    re.compile(rf"(?P<stem>.+?)[-._]{_DATE}(?P<suffix>\.(?!{_COMPRESSED})[A-Za-z]\w*)", re.DOTALL),
)


def name_before_rotation(name: str) -> str | None:
    """Give the name of the log whose earlier content a file of this name holds, None if none.

    logrotate and the like number files (`app.log.1`) or date them (`app.log-20260131`,
    `app.log.2026-01-31`, `app-20260131.log`). What was compressed is none: it has another content.
    """
    for pattern in _ROTATED:
        if match := pattern.fullmatch(name):
            return "".join(match.groups())
    return None


def oldest_first(files: Mapping[Path, os.stat_result]) -> list[Path]:
    """Sort files by when they were written last; of those with numbers, a higher one is older."""
    by_time = sorted(files, key=lambda path: (files[path].st_mtime_ns, path.name))
    # A program that writes on to a file after its rotation makes that look younger.
    numbered = iter(sorted(filter(_number, by_time), key=_number, reverse=True))
    return [next(numbered) if _number(path) else path for path in by_time]


def _number(path: Path) -> int:
    """Give the number of a rotated file plus one, 0 if it has none."""
    number = re.search(r"\.(\d{1,5})\Z", path.name)
    return int(number[1]) + 1 if number else 0


class Beside(NamedTuple):
    """A regular file beside a log, and its status.

    is_rotated: whether it has the name of an earlier content of the log. Others may be copies of
    what the log holds, by their names, or are wanted.
    """

    path: Path
    status: os.stat_result
    is_rotated: bool


def files_beside(log: Path, wanted: set[int]) -> list[Beside]:
    """Give the files beside a log that may hold a content of it.

    wanted: the inodes of files that do, whatever their names are.

    Raises OSError when the directory cannot be read.
    """
    # A log that is a link is rotated where it leads to, or by another link.
    places = dict.fromkeys([log, Path(os.path.realpath(log))])
    return [file for place in places for file in _beside(place, wanted)]


def _beside(log: Path, wanted: set[int]) -> list[Beside]:
    found = []
    with os.scandir(log.parent) as entries:
        for entry in entries:
            is_rotated = name_before_rotation(entry.name) == log.name
            named_alike = entry.name.startswith(log.name) and entry.name != log.name
            if (is_rotated or named_alike or entry.inode() in wanted) and entry.is_file(
                follow_symlinks=False
            ):
                found.append((log.parent / entry.name, is_rotated))
    return [
        Beside(path, status, is_rotated)
        for path, is_rotated in found
        if (status := _status_if_there(path)) is not None
    ]


def _status_if_there(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None  # rotated on, or removed, since the directory was read

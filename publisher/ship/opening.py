"""The files of a log, opened: the one at its path, and those beside it."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from publisher.ship.checkpoint import Known
from publisher.ship.generation import identity_of
from publisher.ship.rotation import files_beside, oldest_first

_SCANS = 20


class FileRefused(Exception):
    """A file cannot be shipped; the message is one sentence that names it."""


class OpenFile(NamedTuple):
    """An open file, and whether it has the name of an earlier content of the log."""

    path: Path
    file: int
    is_rotated: bool


def opened_beside(log: Path, latest: Sequence[Known]) -> list[OpenFile]:
    """Open the files beside a log that may hold earlier contents of it, the oldest first.

    latest: the contents that may have been renamed, or copied, to another kind of name.

    Raises FileRefused.
    """
    for last in (False,) * _SCANS + (True,):
        files, is_still = _scan(log, latest)
        # Hard links look like names that move. What is missed is found after the next rotation.
        if is_still or last:
            break
        close_all(files)
    return files


def close_all(files: Sequence[OpenFile]) -> None:
    """Close files."""
    for file in files:
        os.close(file.file)


def opened_if_there(path: Path) -> int | None:
    """Open a regular file for reading; gives its descriptor, None if there is no such file.

    Raises FileRefused.
    """
    try:
        # A named pipe would wait for its other end.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refusal(path, error) from error
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode):
        return file
    os.close(file)
    what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
    raise FileRefused(f"cannot read {os.fspath(path)!r}: it is {what}")


def changed_at(log: Path) -> int:
    """Give when a file came or went beside a log last, in nanoseconds.

    Raises OSError.
    """
    return Path(os.path.realpath(log)).parent.stat().st_mtime_ns


def refusal(path: Path, error: OSError) -> FileRefused:
    """Say why a file cannot be shipped."""
    return FileRefused(f"cannot read {os.fspath(path)!r}: {error.strerror or error}")


def _scan(log: Path, latest: Sequence[Known]) -> tuple[list[OpenFile], bool]:
    """Give the files, and whether none was renamed meanwhile."""
    wanted = {entry.identity for entry in latest}
    try:
        found = {file.path: file for file in files_beside(log, {inode for _, inode in wanted})}
    except FileNotFoundError:
        return [], True
    except OSError as error:
        raise refusal(log.parent, error) from error
    identities = {identity_of(file.status) for file in found.values()}
    is_still = len(identities) == len(found)
    files: list[OpenFile] = []
    opened: set[tuple[int, int]] = set()
    try:
        for path in oldest_first({path: file.status for path, file in found.items()}):
            try:
                file = opened_if_there(path)
            except FileRefused:
                if found[path].is_rotated:
                    raise
                continue  # nobody said that it belongs to the log
            if file is None:
                is_still = False
                continue
            files.append(OpenFile(path, file, found[path].is_rotated))
            identity = identity_of(os.fstat(file))
            is_still = is_still and identity == identity_of(found[path].status)
            belongs = found[path].is_rotated or identity in wanted
            if identity in opened or not (
                belongs or any(entry.progress.follows(file) for entry in latest)
            ):
                os.close(files.pop().file)
            opened.add(identity)
    except OSError as error:
        close_all(files)
        raise refusal(log, error) from error
    except FileRefused:
        close_all(files)
        raise
    return files, is_still

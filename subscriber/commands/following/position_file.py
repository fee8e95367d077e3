"""A position in a file, for one command alone, which a crash at any moment leaves whole."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import msgspec

_MODE = 0o600
_MAX_BYTES = 64 * 1024


class PositionFileRefused(Exception):
    """The file can't be used; the message is one sentence that names it."""


class Followed(msgspec.Struct, frozen=True):
    """What a position is a place in.

    Args:
        url: the aggregator's URL, without user and password.
        topics: the names and patterns, sorted, each once.
        source: the filter, if there is one.
    """

    url: str
    topics: list[str]
    source: str | None


class _Content(msgspec.Struct, frozen=True):
    followed: Followed
    position: str


class PositionFile:
    """An open position file; `PositionFile.opened` gives one.

    Another command is kept out by a lock on the file. Each save replaces it by a new one, which is
    locked before it is there.
    """

    def __init__(self, path: Path, followed: Followed, lock: int) -> None:
        self._path = path
        self._followed = followed
        self._lock = lock
        self.position: str | None = None
        """The position that was saved last; None if there is none yet."""

    @classmethod
    @contextmanager
    def opened(cls, path: Path, followed: Followed) -> Iterator[Self]:
        """Open a file, new if there is none, and keep others out until the end.

        Raises:
            PositionFileRefused: it is no position file or that of something else, another command
                uses it, or it can't be read.
        """
        try:
            # What a link points to is replaced, not the link.
            path = path.resolve()
            file = cls(path, followed, _locked(path))
        except OSError as error:
            raise _refused(path, error.strerror or str(error)) from error
        try:
            file.position = file._read()
            yield file
        finally:
            os.close(file._lock)

    def save(self, position: str) -> None:
        """Save a position durably.

        Raises:
            PositionFileRefused: the file can't be written.
        """
        content = msgspec.json.encode(_Content(self._followed, position))
        new = self._path.with_name(f".{self._path.name}.new")
        try:
            lock = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with open(lock, "wb", closefd=False) as file:
                    file.write(content + b"\n")
                os.fsync(lock)
                new.rename(self._path)
                _sync_directory(self._path.parent)
            except BaseException:
                os.close(lock)
                raise
        except OSError as error:
            raise _refused(self._path, error.strerror or str(error)) from error
        os.close(self._lock)
        self._lock, self.position = lock, position

    def _read(self) -> str | None:
        if not stat.S_ISREG(os.fstat(self._lock).st_mode):
            # A device such as /dev/null would be replaced, too.
            raise _refused(
                self._path, "it is not a regular file; name another with --position-file"
            )
        try:
            text = os.pread(self._lock, _MAX_BYTES, 0)
        except OSError as error:
            raise _refused(self._path, error.strerror or str(error)) from error
        if not text:
            return None
        try:
            content = msgspec.json.decode(text, type=_Content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _refused(
                self._path,
                "it is not a position file; remove it, or name another with --position-file",
            ) from error
        if content.followed != self._followed:
            raise _refused(
                self._path,
                f"it is that of {_shown(content.followed)}, not of {_shown(self._followed)}; "
                "name another with --position-file",
            )
        return content.position


def _locked(path: Path) -> int:
    """Open and lock the file that is at a path, also while another command replaces it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _refused(path, "another command is using it") from error
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _sync_directory(directory: Path) -> None:
    file = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _shown(followed: Followed) -> str:
    source = "" if followed.source is None else f" from source {followed.source!r}"
    return f"{' '.join(followed.topics)}{source} at {followed.url}"


def _refused(path: Path, reason: str) -> PositionFileRefused:
    return PositionFileRefused(f"cannot use the position file {str(path)!r}: {reason}")

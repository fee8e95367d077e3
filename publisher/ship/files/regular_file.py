"""A regular file on the disk, whose descriptor is closed and opened again as needed."""

import copy
import errno
import os
import stat
from pathlib import Path
from typing import Self

from publisher.ship.files.identity import FileIdentity, identify, is_same

# A named pipe would wait for its other end.
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


class FileRefused(Exception):
    """A file cannot be shipped; the message is one sentence that names it."""

    @classmethod
    def of(cls, path: Path, error: Exception) -> Self:
        """Return the refusal of a file that could not be read.

        Args:
            path: of the file.
            error: an OSError, or one whose message is a sentence that names the file already.
        """
        if not isinstance(error, OSError):
            return cls(str(error))
        return cls(f"cannot read {os.fspath(path)!r}: {error.strerror or error}")


class RegularFile:
    """A regular file is opened at once, and again when it is read after it was closed.

    Args:
        path: of the file; who renames it sets it anew.

    Raises:
        FileNotFoundError: nothing is there.
        FileRefused: it can't be read, or is a directory, a pipe or a device.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, _FLAGS)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise FileRefused.of(path, error) from error
        try:
            refusal = _refusal(path, os.fstat(self._file).st_mode)
            self.identity: FileIdentity = identify(self._file)
        except OSError as error:
            refusal = FileRefused.of(path, error)
        if refusal:
            self.close()
            raise refusal

    @property
    def is_open(self) -> bool:
        """Whether it has a descriptor now."""
        return self._file >= 0

    def descriptor(self) -> int:
        """Return the descriptor, of which the file stays the owner.

        Raises:
            FileNotFoundError: another file, or none, is at its path by now.
            OSError: it can't be opened.
        """
        if self._file < 0:
            file = os.open(self.path, _FLAGS)
            try:
                if not is_same(identify(file), self.identity):
                    raise self._gone()
            except OSError:
                os.close(file)
                raise
            self._file = file
        return self._file

    def status(self) -> os.stat_result:
        """Return the status of the file on the disk.

        Raises:
            FileNotFoundError: it is not open, and another file, or none, is at its path by now.
            OSError: it can't be looked at.
        """
        if self._file >= 0:
            return os.fstat(self._file)
        status = self.path.stat()
        if (status.st_dev, status.st_ino) != self.identity[:2]:
            raise self._gone()
        return status

    def duplicate(self) -> Self:
        """Return the file a second time, with a descriptor of its own; this one must be open.

        Raises:
            OSError: there is no descriptor left.
        """
        other = copy.copy(self)
        other._file = os.dup(self._file)  # noqa: SLF001 - of its own class
        return other

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _gone(self) -> FileNotFoundError:
        code = errno.ENOENT
        return FileNotFoundError(code, os.strerror(code), os.fspath(self.path))


def _refusal(path: Path, mode: int) -> FileRefused | None:
    if stat.S_ISREG(mode):
        return None
    return FileRefused(f"cannot read {os.fspath(path)!r}: {what_it_is(path, mode)}")


def what_it_is(path: Path, mode: int) -> str:
    """Say what something is that is no regular file with a name, and what to ship in its place.

    Args:
        path: by which it was named.
        mode: of its status.
    """
    if stat.S_ISDIR(mode):
        return f"it is a directory; name its files, as by the pattern {os.fspath(path / '*')!r}"
    if stat.S_ISREG(mode):
        return "it has no name any more; send it through standard input, as -"
    kinds = {stat.S_IFIFO: "pipe", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    kind = kinds.get(stat.S_IFMT(mode), "socket")
    return f"it is a {kind}, not a file; send it through standard input, as -"

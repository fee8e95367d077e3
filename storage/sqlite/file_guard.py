"""The file guard: checks that the files of a SQLite database are still those that were opened.

SQLite goes on with an open file that has lost its name: it writes, flushes and acknowledges,
and at the next start all of it is gone. A -wal or -shm file that others see in another place
is worse, since then locks are no longer shared. So every transaction looks at the names twice:
under the write lock, before it writes, and behind its COMMIT, before anybody gets a verdict.
Reads do too: what another process writes into a new -wal is not what these connections see.

The names are only ever looked up with stat(). To open and close the database file once more
would drop every lock that this process holds on it (POSIX).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from storage.errors import StorageMisconfigured, StorageUnavailable

_COMPANIONS = ("-wal", "-shm")

FileIdentities: TypeAlias = Sequence[tuple[int, int]]
"""Device and inode of the database file, its -wal and its -shm."""


class FileGuard:
    """The database file and its companions, -wal and -shm, as they were when opened.

    Args:
        path: the database file.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        # SQLite puts them beside the file itself, not beside a link to it.
        self._companions = [os.path.realpath(path) + end for end in _COMPANIONS]
        self._names = [self._path, *self._companions]
        self._opened: dict[str, tuple[int, int]] = {}
        self._size = 0
        self._overwritten = False

    def check_before_opening(self) -> None:
        """Raise `StorageMisconfigured` if the -wal file is there and its database is not.

        SQLite would remove it, and with it what was committed last, in a database that was
        only moved away.
        """
        wal = self._companions[0]
        # In this order: whoever is making a new database makes the -wal last.
        if _size(wal) and not _size(self._path):
            raise StorageMisconfigured(
                f"the database file {self._path!r} is missing or empty, but {wal!r} holds what was "
                f"stored in it last: put the file back, or remove {wal!r} to begin a new log"
            )

    @property
    def identities(self) -> FileIdentities:
        """The files that were opened; none before `record` or `expect`."""
        return list(self._opened.values())

    def record(self) -> None:
        """Record the files that are there now as those that were opened.

        Raises:
            StorageUnavailable: one of them is gone already.
        """
        self._opened = {}
        self._overwritten = False
        for name in self._names:
            found = self._find(name)
            self._opened[name] = (found.st_dev, found.st_ino)
            if name == self._path:
                self._size = found.st_size

    def expect(self, identities: FileIdentities) -> None:
        """Expect the files that another process has opened, and no others.

        Args:
            identities: the `identities` of that process's guard.

        Raises:
            StorageUnavailable: one of them is gone, or another is in its place.
        """
        self._opened = dict(zip(self._names, identities, strict=True))
        self._overwritten = False
        self._size = 0
        self.check()

    def check(self) -> None:
        """Raise `StorageUnavailable`, with what to do, unless all of them are in their place."""
        for name, opened in self._opened.items():
            # Read before the file is looked at: several threads check, and it grows meanwhile.
            min_size = self._size
            found = self._find(name)
            if (found.st_dev, found.st_ino) != opened:
                raise self._lost(name)
            if name == self._path:
                # A log only ever grows; nobody can tell what else in it is no longer the same.
                self._overwritten |= found.st_size < min_size
                self._size = max(self._size, found.st_size)
        if self._overwritten:
            raise StorageUnavailable(
                f"the database file {self._path!r} was cut short or overwritten while in use: stop "
                f"the aggregator, remove {self._named_companions()}, restore the file and start "
                "the aggregator again"
            )

    def size(self) -> int:
        """Bytes of the database and its -wal, as far as they are there."""
        return _size(self._path) + _size(self._companions[0])

    def wal_is_orphaned(self) -> bool:
        """Whether the -wal file has lost its name, and nobody has made another."""
        return (
            bool(self._opened)
            and not self._overwritten
            and _identity(self._path) == self._opened[self._path]
            and _identity(self._companions[0]) is None
            and _identity(self._companions[1]) in {None, self._opened[self._companions[1]]}
        )

    def may_be_closed(self) -> bool:
        """Whether SQLite may tidy up as the last connection closes.

        It would copy from the -wal that was opened into the database, and remove what goes by
        that name: over what another process stored, once there is another -wal or -shm.
        """
        if self._overwritten:
            return False
        return all(
            _identity(name) in {None, self._opened.get(name)} or name not in self._opened
            for name in self._companions
        )

    def _find(self, name: str) -> os.stat_result:
        try:
            return os.stat(name)  # noqa: PTH116 - a Path would cost more than the call
        except OSError as error:
            raise self._lost(name) from error

    def _lost(self, name: str) -> StorageUnavailable:
        if name == self._path:
            return StorageUnavailable(
                f"the database file {name!r} was deleted or replaced while in use: put it back; or "
                f"stop the aggregator, remove {self._named_companions()}, which belong to it, and "
                "start the aggregator with what is there then"
            )
        return StorageUnavailable(
            f"{name!r}, a part of the database, was deleted or replaced while in use: put it back, "
            "or stop the aggregator and start it again"
        )

    def _named_companions(self) -> str:
        return " and ".join(map(repr, self._companions))


def _identity(name: str) -> tuple[int, int] | None:
    try:
        found = os.stat(name)  # noqa: PTH116
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def _size(name: str) -> int:
    try:
        return os.stat(name).st_size  # noqa: PTH116
    except OSError:
        return 0

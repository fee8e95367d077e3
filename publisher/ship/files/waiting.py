"""Files that may be copies, which wait until it shows."""

import os
from collections.abc import Collection
from dataclasses import dataclass

QUIET_S = 10.0
"""So long must a file be quiet that may be a copy, or that was renamed: its writer may go on."""

_Key = tuple[int, int]


@dataclass(slots=True)
class _Quiet:
    size: int
    changed_ns: int
    since: float


class Waiting:
    """Keeps since when files are quiet that have nothing but what another content has."""

    def __init__(self) -> None:
        self._files: dict[_Key, _Quiet] = {}

    def begins(self, key: _Key, status: os.stat_result, now: float) -> bool:
        """Take in that a file may be a copy; tell whether it has to wait.

        Args:
            key: device and inode.
            status: of the file.
            now: by a steady clock in seconds.
        """
        quiet = self._files.get(key)
        if quiet is None or (quiet.size, quiet.changed_ns) != (status.st_size, status.st_mtime_ns):
            quiet = self._files[key] = _Quiet(status.st_size, status.st_mtime_ns, now)
        if now - quiet.since < QUIET_S:
            return True
        del self._files[key]
        return False

    def goes_on(self, key: _Key, status: os.stat_result, now: float) -> bool:
        """Tell whether a file waits, and nothing has changed."""
        quiet = self._files.get(key)
        return (
            quiet is not None
            and (quiet.size, quiet.changed_ns) == (status.st_size, status.st_mtime_ns)
            and now - quiet.since < QUIET_S
        )

    def has(self, key: _Key) -> bool:
        """Tell whether a file waits."""
        return key in self._files

    def keep(self, there: Collection[_Key]) -> None:
        """Forget the files that are not there any more."""
        for key in [key for key in self._files if key not in there]:
            del self._files[key]

    def due_in_s(self, now: float) -> list[float]:
        """Return in how many seconds each has waited long enough."""
        return [quiet.since + QUIET_S - now for quiet in self._files.values()]

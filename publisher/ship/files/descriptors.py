"""The limit on file descriptors, and the files that share what it has room for."""

import sys
from collections import OrderedDict
from contextlib import suppress

from publisher.ship.files.readable_file import ReadableFile

if sys.platform != "win32":
    import resource

_ENOUGH = 65_536
"""More would only cost those who go through all numbers, as some programs do that are started."""
_WITHOUT_LIMIT = 512
"""What Windows' C library opens at once."""


def raise_soft_limit() -> int:
    """Raise the limit on file descriptors as far as is allowed and of use.

    Returns:
        The number of descriptors that the process may have.
    """
    if sys.platform == "win32":
        return _WITHOUT_LIMIT
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(_ENOUGH, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft
    # macOS has a limit of its own below the hard one.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


class OpenFiles:
    """The files that may be open; beyond the limit those used longest ago are closed.

    What was closed opens itself again when it is read.

    Args:
        limit: number of files that are open at once, at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = max(limit, 1)
        self._files: OrderedDict[int, ReadableFile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._files)

    def use(self, file: ReadableFile) -> None:
        """Note that a file is about to be read, or was just opened."""
        self._files[id(file)] = file
        self._files.move_to_end(id(file))
        while len(self._files) > self._limit:
            _, oldest = self._files.popitem(last=False)
            oldest.close()

    def close(self, file: ReadableFile) -> None:
        """Close a file, which is not used any more or not for long."""
        self._files.pop(id(file), None)
        file.close()

    def close_all(self) -> None:
        """Close all files."""
        while self._files:
            _, file = self._files.popitem()
            file.close()

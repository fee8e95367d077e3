"""Contents of a log that came and went between two looks, and lie beside it by now."""

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from publisher.ship.files.search import regular_files
from publisher.ship.files.state import ContentState

_SEPARATORS = "-._"

Key = tuple[int, int]
"""Device and inode of a file."""


class Unseen:
    """Finds the files that a log may have been while nobody looked.

    They are near it, their names begin like its own, and they were changed after the last change
    that was seen of it.
    """

    def __init__(self) -> None:
        self._logs: dict[Path, Path] = {}

    def paths(self) -> list[Path]:
        """Return the files that are not met yet, those written first at the front."""
        return list(self._logs)

    def log_of(self, path: Path) -> Path | None:
        """Return the log that a file may have been, None if it is none of those found."""
        return self._logs.get(path)

    def find(self, log: Path, last: ContentState | None, besides: Collection[Key]) -> bool:
        """Look for what a log was, as a new content is at its path; tell whether anything is found.

        Args:
            log: the path of the log.
            last: the content that was met last under that path; None: there is none.
            besides: device and inode of the files that names lead to, or that are read.
        """
        if last is None or not last.changed_ns:
            return False
        found: list[tuple[int, Path]] = []
        for entry in regular_files(os.fspath(log.parent)):
            if not is_named_after(entry.name, log.name):
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if (
                    status.st_mtime_ns > last.changed_ns
                    and (status.st_dev, status.st_ino) not in besides
                ):
                    found.append((status.st_mtime_ns, Path(entry.path)))
        self._logs.update((path, log) for _, path in sorted(found))
        return bool(found)

    def keep(self, waiting: Collection[Path]) -> None:
        """Forget the files that are met by now, but for those that wait to be told from copies."""
        self._logs = {path: log for path, log in self._logs.items() if path in waiting}


def is_named_after(name: str, log: str) -> bool:
    """Tell whether a name begins like that of a log, as the names do that rotation gives.

    Args:
        name: of a file.
        log: name of the log.
    """
    if name == log:
        return False
    stem, suffix = os.path.splitext(log)  # noqa: PTH122 - of a name, not a path
    behind = name.removeprefix(stem)
    return name.startswith(log) or (
        name.startswith(stem) and behind[:1] in _SEPARATORS and bool(behind) and suffix in behind
    )

"""inotify: what Linux tells of changes in files and directories."""

import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

if sys.platform == "linux":
    from asyncinotify import Inotify, Mask
    from asyncinotify import Watch as Watched

    # One event is enough to know of a change, and what is written to all the time must not fill
    # the queue.
    _NAMES = (
        Mask.CREATE
        | Mask.MOVE
        | Mask.DELETE
        | Mask.DELETE_SELF
        | Mask.MOVE_SELF
        | Mask.ONLYDIR
        | Mask.ONESHOT
    )
    _CONTENT = Mask.MODIFY | Mask.ONESHOT

_AT_ONCE = 64
"""Events of the longest names that are read at once; without names about a thousand."""


class WatchRefused(Exception):
    """inotify can't be had; the message is the beginning of a sentence."""


class Events(NamedTuple):
    """What inotify has told.

    Attributes:
        names_changed: in a directory.
        files: paths that were written to.
        is_overflown: whether more was told than its queue has room for.
    """

    names_changed: bool
    files: set[Path]
    is_overflown: bool


class Notifier:
    """A notifier watches files for their content, and directories for the names in them.

    Raises:
        WatchRefused: there is no inotify, or there are too many of it.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise WatchRefused("this system has no inotify")
        try:
            # The library's own `get` loses events when it is cancelled.
            self._inotify = Inotify(cache_size=_AT_ONCE, sync_timeout=0)
        except OSError as error:
            raise WatchRefused(_reason(error)) from error
        self._watched: dict[Path, Watched] = {}
        self._paths: dict[int, set[Path]] = {}
        self._directories: set[Path] = set()

    @property
    def fd(self) -> int:
        """The descriptor that can be read when there is something to tell."""
        return self._inotify.fd

    def close(self) -> None:
        """Close its descriptor."""
        self._inotify.close()

    def watch(self, directories: set[Path], files: set[Path], *, again: bool) -> None:
        """Watch directories and files, and no others.

        Args:
            directories: whose names matter.
            files: whose content matters.
            again: also paths that are watched already, since other files may be there by now.

        Raises:
            WatchRefused: there can be no more watches.
        """
        wanted = directories | files
        for path in self._watched.keys() - wanted:
            self._forget(path)
        self._directories = directories
        self._add(wanted if again else wanted - self._watched.keys())

    def take(self) -> Events:
        """Return what was told since the last call, and watch what it was about anew.

        Raises:
            WatchRefused: there can be no more watches.
        """
        is_overflown = False
        changed: set[Path] = set()
        while (event := self._inotify.sync_get()) is not None:
            if event.mask & Mask.Q_OVERFLOW:
                is_overflown = True
            watched = event.watch
            if watched is None:
                continue
            paths = self._paths.pop(watched.wd, set())
            if not paths and not event.mask & Mask.IGNORED:
                paths = {watched.path}  # watched anew since then
            for path in paths:
                if self._watched.get(path) is watched:
                    del self._watched[path]
            changed |= paths
        names_changed = not changed.isdisjoint(self._directories)
        # Before it is told: what is written from now on makes another event.
        missing = self._add(changed)
        return Events(names_changed or missing, changed - self._directories, is_overflown)

    def _add(self, paths: Iterable[Path]) -> bool:
        """Watch paths; tells whether one of them is not there."""
        is_missing = False
        for path in paths:
            mask = _NAMES if path in self._directories else _CONTENT
            try:
                watched = self._inotify.add_watch(path, mask)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.ENOMEM):
                    raise WatchRefused(_reason(error)) from error
                # Nothing is there, or it may not be looked at.
                is_missing = True
                self._forget(path)
                continue
            if self._watched.get(path) is not watched:
                self._forget(path)
                self._watched[path] = watched
                self._paths.setdefault(watched.wd, set()).add(path)
        return is_missing

    def _forget(self, path: Path) -> None:
        watched = self._watched.pop(path, None)
        if watched is None:
            return
        others = self._paths[watched.wd]
        others.discard(path)
        if not others:
            del self._paths[watched.wd]
            try:
                self._inotify.rm_watch(watched)
            except OSError:
                return  # it has gone by itself


def _reason(error: OSError) -> str:
    what = {
        errno.EMFILE: "fs.inotify.max_user_instances or the limit on descriptors is reached",
        errno.ENOSPC: "fs.inotify.max_user_watches is reached",
    }.get(error.errno or 0, os.strerror(error.errno or 0))
    return f"inotify cannot tell of changes ({what})"

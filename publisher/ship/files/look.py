"""A look at the names in directories: which files match a pattern, and what can't be looked at."""

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence

from publisher.ship.files.real_paths import RealPaths, joined

RECURSIVE = "**"
_MAGIC = re.compile(r"[*?[]")
_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}

State = tuple[str, int]
"""The real path of a directory, and the number of the part of a pattern that its names are
matched with."""


def has_magic(text: str) -> bool:
    """Tell whether a text has characters that match others."""
    return _MAGIC.search(text) is not None


class Look:
    """A look lists each directory once, whatever is asked of it.

    Patterns match as those of the standard library's `glob` do; each pair of a directory and a
    part of a pattern is gone through once, so links in a circle do no harm.

    Attributes:
        directories: real paths of those whose names decide on what is found.
        refused: a sentence for each thing that could not be looked at.
        refusals: how often something could not be looked at, also the same once more.
    """

    def __init__(self) -> None:
        self._real = RealPaths()
        self._entries: dict[str, list[os.DirEntry[str]]] = {}
        self._directories: set[str] = set()
        self._refused: dict[str, None] = {}
        self._unlisted: set[str] = set()
        self.refusals = 0

    @property
    def directories(self) -> set[str]:
        """Real paths of the directories whose names decide on what is found."""
        return self._directories | self._real.directories_of_links

    @property
    def refused(self) -> list[str]:
        """A sentence for each thing that could not be looked at."""
        return list(self._refused)

    def path(self, path: str) -> tuple[str, bool]:
        """Return the real path of an absolute one, and whether something is there or may be."""
        real = self._real.of(path)
        # A directory that is not there has no `..`, whatever the real path says.
        return real, self._status(path if "/.." in path else real, path) is not None

    def matches(self, directory: str, parts: Sequence[str]) -> Iterator[str]:
        """Yield real paths of the regular files that match a pattern, some perhaps twice.

        Args:
            directory: an absolute path, in which the pattern begins.
            parts: of the pattern, at least one.
        """
        matchers = [_matcher(part) for part in parts]
        begin = self._begin(directory, parts)
        if begin is None:
            return
        to_do = [begin]
        done: set[State] = set()
        while to_do:
            state = to_do.pop()
            if state in done:
                continue
            done.add(state)
            place, number = state
            is_last = number == len(parts) - 1
            matcher = matchers[number]
            if parts[number] == RECURSIVE:
                if not is_last:
                    to_do.append((place, number + 1))
                to_do += [(below, number) for below in self._below(place, _is_shown)]
                if is_last:
                    yield from self._files(place, _is_shown)
            elif matcher is not None:
                if is_last:
                    yield from self._files(place, matcher)
                else:
                    to_do += [(below, number + 1) for below in self._below(place, matcher)]
            elif is_last:
                yield from self._file(place, parts[number])
            else:
                to_do += [(below, number + 1) for below in self._one_below(place, parts[number])]

    def _files(self, directory: str, matcher: Callable[[str], object]) -> Iterator[str]:
        start = joined(directory, "")
        for entry in self._list(directory):
            name = entry.name
            if not matcher(name):
                continue
            try:
                if entry.is_file(follow_symlinks=False):
                    yield start + name
                elif entry.is_symlink():
                    yield from self._file(directory, name)
            except OSError as error:
                self._refuse("look at", start + name, error)

    def _file(self, directory: str, name: str) -> Iterator[str]:
        """Yield the real path of a name, if it leads to a regular file."""
        self._directories.add(directory)
        path = joined(directory, name)
        real = self._real.of(path) if name == ".." else self._real.of_entry(directory, name)
        status = self._status(real, path)
        if status is not None and stat.S_ISREG(status.st_mode):
            yield real

    def _below(self, directory: str, matcher: Callable[[str], object]) -> Iterator[str]:
        """Yield real paths of the directories in a directory whose names match."""
        start = joined(directory, "")
        for entry in self._list(directory):
            name = entry.name
            if not matcher(name):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield start + name
                elif entry.is_dir():
                    yield from self._one_below(directory, name)
            except OSError as error:
                self._refuse("look at", start + name, error)

    def _one_below(self, directory: str, name: str) -> Iterator[str]:
        self._directories.add(directory)
        path = joined(directory, name)
        real = self._real.of_directory(path)
        status = self._status(real, path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            yield real

    def _list(self, directory: str) -> list[os.DirEntry[str]]:
        entries = self._entries.get(directory)
        if entries is None:
            try:
                with os.scandir(directory) as found:
                    entries = list(found)
                self._directories.add(directory)
            except OSError as error:
                entries = []
                before = self.refusals
                self._refuse("list", directory, error)
                if self.refusals > before:
                    self._unlisted.add(directory)
                self._directories.add(_nearest_directory(directory))
            self._entries[directory] = entries
        elif directory in self._unlisted:
            self.refusals += 1
        return entries

    def _begin(self, directory: str, parts: Sequence[str]) -> State | None:
        """Return where looking begins, behind the parts that are names; None: that is not there."""
        start = 0
        while (
            start < len(parts) - 1 and parts[start] != RECURSIVE and _matcher(parts[start]) is None
        ):
            directory = joined(directory, parts[start])
            start += 1
        if "/.." in directory and not os.path.isdir(directory):  # noqa: PTH112
            return None  # what is not there has no `..`, whatever its real path says
        return self._real.of_directory(directory), start

    def _status(self, real: str, path: str) -> os.stat_result | None:
        """Return the status of what is at a real path, and note what decides on that."""
        try:
            status = os.stat(real)  # noqa: PTH116 - thousands at a time
        except OSError as error:
            self._refuse("look at", path, error)
            self._directories.add(_nearest_directory(os.path.dirname(real)))  # noqa: PTH120
            return None
        self._directories.add(os.path.dirname(real))  # noqa: PTH120
        return status

    def _refuse(self, verb: str, path: str, error: OSError) -> None:
        if error.errno not in _NOT_THERE:
            self.refusals += 1
            self._refused[f"cannot {verb} {path!r}: {error.strerror or error}"] = None


def _matcher(part: str) -> Callable[[str], object] | None:
    """Return what tells whether a name matches a part of a pattern; None if it is only a name."""
    if part == RECURSIVE or not has_magic(part):
        return None
    match = re.compile(fnmatch.translate(part)).match
    if part.startswith("."):
        return match
    return lambda name: _is_shown(name) and match(name)


def _is_shown(name: str) -> bool:
    return not name.startswith(".")


def _nearest_directory(path: str) -> str:
    """Return a directory, or of those above it the nearest that is there."""
    while not os.path.isdir(path) and path != "/":  # noqa: PTH112 - it may not be looked at
        path = os.path.dirname(path)  # noqa: PTH120
    return path

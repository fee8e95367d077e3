"""The files that paths and patterns name, as names come and go."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from publisher.ship.files.look import Look, has_magic
from publisher.ship.files.regular_file import what_it_is


class Found(NamedTuple):
    """The files that are there.

    Attributes:
        paths: real paths, each once: in the order of the arguments, those of a pattern by name.
        unmatched: a sentence for each argument that leads nowhere, and for all that may not be
            looked at.
    """

    paths: list[Path]
    unmatched: list[str]


class Names:
    """Names of files are paths, and patterns of `*`, `?`, `[...]` and `**`.

    Patterns match as those of the standard library's `glob` do: `*` matches no name that begins
    with a point. A path that exists is none, whatever characters it has. Directories, pipes and
    devices that a pattern matches are left out; one that is named is refused when it is opened.

    Args:
        paths_and_patterns: relative ones are of the working directory.
    """

    def __init__(self, paths_and_patterns: Iterable[Path | str]) -> None:
        self._names = [os.fspath(Path(name)) for name in paths_and_patterns]
        self._paths: dict[str, Path] = {}
        self._directories: set[str] | None = None

    def find(self) -> Found:
        """Return the files that are there now."""
        look = Look()
        found: dict[str, None] = {}
        unmatched: list[str] = []
        for name in self._names:
            if has_magic(name) and not os.path.lexists(name):
                # In the order of the parts of paths, which the separator would upset.
                refused = look.refusals
                matches = sorted(_matches(look, name), key=_by_parts)
                found.update(dict.fromkeys(matches))
                if not matches and look.refusals == refused:
                    unmatched.append(f"no file matches {name!r}")
            else:
                self._find_path(look, name, found, unmatched)
        # Thousands of paths are not made anew each time.
        self._paths = {path: self._paths.get(path) or Path(path) for path in found}
        self._directories = look.directories
        return Found(list(self._paths.values()), unmatched + look.refused)

    def directories(self) -> list[Path]:
        """Return the directories to watch for names that come and go, as `find` saw them last.

        They are those of the files and links, all that a pattern goes through, and where one is not
        there the nearest above it.
        """
        if self._directories is None:
            self.find()
        return sorted(map(Path, self._directories or ()))

    @staticmethod
    def _find_path(look: Look, name: str, found: dict[str, None], unmatched: list[str]) -> None:
        refused = look.refusals
        real, is_there = look.path(os.path.join(_working_directory(name), name))  # noqa: PTH118
        if is_there:
            found[real] = None
        elif look.refusals == refused:
            unmatched.append(_why_missing(name))


def _why_missing(name: str) -> str:
    """Return a sentence on a name that leads to no path."""
    try:
        # What is open alone, such as /dev/stdin, has a status and no path.
        mode = os.stat(name).st_mode  # noqa: PTH116 - a path of any bytes
    except OSError:
        return f"{name!r} is not there"
    return f"cannot read {name!r}: {what_it_is(Path(name), mode)}"


def _matches(look: Look, pattern: str) -> Iterable[str]:
    parts = [part for part in pattern.split("/") if part]
    return look.matches(_working_directory(pattern), parts)


def _working_directory(name: str) -> str:
    """Return the absolute path that a name is relative to."""
    return "/" if name.startswith("/") else os.getcwd()  # noqa: PTH109 - asked for once a name


def _by_parts(path: str) -> str:
    return path.replace("/", "\0")

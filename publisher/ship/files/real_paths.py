"""Real paths: where links lead, each directory looked at once."""

import os

_MAX_LINKS = 40
"""As many as Linux follows."""


class RealPaths:
    """Real paths are found as `os.path.realpath` does, but what was found of directories is kept.

    Made for one look: what changes meanwhile is seen by the next one.

    Attributes:
        directories_of_links: real paths of the directories that have the links that were met.
    """

    def __init__(self) -> None:
        self._directories: dict[str, str] = {"/": "/"}
        self.directories_of_links: set[str] = set()

    def of(self, path: str, links: int = 0) -> str:
        """Return the real path of an absolute path, also if nothing is there.

        Args:
            path: absolute.
            links: number of links that led there.
        """
        head, name = os.path.split(path)
        if not name:
            return self.of_directory(head, links)
        directory = self.of_directory(head, links)
        if name == ".":
            return directory
        if name == "..":
            return os.path.dirname(directory)  # noqa: PTH120 - thousands at a time
        return self.of_entry(directory, name, links)

    def of_directory(self, path: str, links: int = 0) -> str:
        """Return the real path of an absolute path that is asked for more than once."""
        real = self._directories.get(path)
        if real is None:
            real = self.of(path, links) if path.strip("/") else "/"
            self._directories[path] = real
        return real

    def of_entry(self, directory: str, name: str, links: int = 0) -> str:
        """Return the real path of a name in a directory.

        Args:
            directory: its real path.
            name: neither `.` nor `..`.
            links: number of links that led there.
        """
        path = joined(directory, name)
        try:
            target = os.readlink(path)  # noqa: PTH115 - thousands at a time
        except OSError:
            return path  # no link, or not there
        self.directories_of_links.add(directory)
        if links >= _MAX_LINKS:
            return path
        return self.of(os.path.join(directory, target), links + 1)  # noqa: PTH118


def joined(directory: str, name: str) -> str:
    """Return the path of a name in a directory, quicker than `os.path.join`."""
    return f"/{name}" if directory == "/" else f"{directory}/{name}"

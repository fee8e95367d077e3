"""The contents that are read, by the file, the state and the path of each."""

import os
from collections.abc import Iterator
from pathlib import Path

from publisher.ship.files.content import Content
from publisher.ship.files.readable_file import FileRefused, ReadableFile
from publisher.ship.files.state import ContentState

Key = tuple[int, int]
"""Device and inode of a file."""


class OpenContents:
    """Holds the contents that are read, one a file."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Content] = {}
        self._paths: dict[Path, Content] = {}
        self.by_state: dict[int, Content] = {}
        """By the `id` of their states."""

    def __iter__(self) -> Iterator[Content]:
        """Yield the contents, in the order in which they came."""
        return iter(self._by_key.values())

    def __contains__(self, key: object) -> bool:
        """Tell whether what a file holds is read."""
        return key in self._by_key

    def files(self) -> list[Key]:
        """Return the files whose contents are read."""
        return list(self._by_key)

    def get(self, key: Key) -> Content | None:
        """Return the content that is read from a file."""
        return self._by_key.get(key)

    def of(self, state: ContentState) -> Content | None:
        """Return the content with a state."""
        return self.by_state.get(id(state))

    def at(self, path: Path) -> Content | None:
        """Return the content that was last seen at a path."""
        content = self._paths.get(path)
        if content is None or content.path != path:
            return None
        # It may have been replaced since the last look.
        return content if self._by_key.get(_key(content.file)) is content else None

    def put(self, content: Content) -> None:
        """Add a content, under the file that holds it."""
        self._by_key[_key(content.file)] = content
        self.by_state[id(content.state)] = content

    def drop(self, content: Content) -> None:
        """Take a content out."""
        key = next(key for key, each in self._by_key.items() if each is content)
        del self._by_key[key], self.by_state[id(content.state)]

    def take_in_paths(self) -> None:
        """Take in under which paths the contents are known by now."""
        self._paths = {each.path: each for each in self._by_key.values()}

    def close(self) -> None:
        """Close all files."""
        for content in self._by_key.values():
            content.file.close()


def _key(file: ReadableFile) -> Key:
    return file.identity.device, file.identity.inode


def statuses(paths: list[Path], refused: dict[str, str]) -> dict[Key, tuple[Path, os.stat_result]]:
    """Return each file once, by its first path, with its status; put the others into `refused`."""
    found: dict[Key, tuple[Path, os.stat_result]] = {}
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - of thousands
        except FileNotFoundError:
            continue
        except OSError as error:
            refused[os.fspath(path)] = str(FileRefused.of(path, error))
            continue
        found.setdefault((status.st_dev, status.st_ino), (path, status))
    return found

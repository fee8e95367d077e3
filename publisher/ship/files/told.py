"""Sentences about files, each told once."""

import os
from collections.abc import Mapping
from pathlib import Path

from publisher.ship.files.readable_file import Damaged, FileRefused


def not_sent(error: FileRefused | Damaged) -> str:
    """Return a sentence on a file of which nothing is sent."""
    return f"{error}; it is not sent" if isinstance(error, Damaged) else str(error)


class Told:
    """Collects sentences until they are told."""

    def __init__(self) -> None:
        self._refused: dict[str, str] = {}
        self._unreadable: dict[str, str] = {}
        self._sentences: list[str] = []

    def take(self) -> list[str]:
        """Return what is to be told, once."""
        sentences, self._sentences = self._sentences, []
        return sentences

    def refused(self, refused: Mapping[str, str]) -> None:
        """Take in which files a look refused, each with a sentence; the same is not told again."""
        self._sentences += [
            sentence for path, sentence in refused.items() if self._refused.get(path) != sentence
        ]
        self._refused = dict(refused)

    def unreadable(self, path: Path, error: Exception) -> None:
        """Take in that a file could not be read."""
        sentence = str(FileRefused.of(path, error))
        if isinstance(error, Damaged):
            sentence += "; what stands before that is sent"
        if self._unreadable.get(os.fspath(path)) != sentence:
            self._unreadable[os.fspath(path)] = sentence
            self._sentences.append(sentence)

    def readable(self, path: Path) -> None:
        """Take in that a file could be read."""
        if self._unreadable:
            self._unreadable.pop(os.fspath(path), None)

    def emptied(self, path: Path, position: int) -> None:
        """Take in that what a file had is nowhere; it was read to a position."""
        self._sentences.append(
            f"{os.fspath(path)!r} was emptied or written anew, and no copy of what it had is "
            f"found: what stood behind byte {position:,} and was not read, if anything, is lost"
        )

    def lost(self, path: str, position: int) -> None:
        """Take in that a file is not found that an earlier command sent up to a position."""
        self._sentences.append(
            f"the file that was {path!r} is not found: what was written to it behind byte "
            f"{position:,}, if anything, is not sent"
        )

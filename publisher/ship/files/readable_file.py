"""The files that are shipped, plain or compressed, by one interface."""

import os
from pathlib import Path
from typing import Protocol

from publisher.ship.files.compressed_file import CompressedFile, Damaged
from publisher.ship.files.decoders import KINDS
from publisher.ship.files.identity import FileIdentity
from publisher.ship.files.plain_file import PlainFile
from publisher.ship.files.regular_file import FileRefused

__all__ = ["Damaged", "FileRefused", "ReadableFile", "open_file", "plain_path"]


class ReadableFile(Protocol):
    """A file is read at any place of its plain content.

    Descriptors are opened as needed: a file that was closed is opened again when it is read.

    Attributes:
        path: where the file is; who renames it sets it anew.
        identity: what the file is known by.
        is_compressed: whether the bytes on the disk are others than those of the content.
        ends_early: whether the end of a compressed file was reached by reading, and the end of
            the archive is not there (yet).
    """

    path: Path
    identity: FileIdentity

    @property
    def is_compressed(self) -> bool:
        """Whether the bytes on the disk are others than those of the content."""

    @property
    def ends_early(self) -> bool:
        """Whether the end was reached by reading, and that of the archive is not there (yet)."""

    def read(self, position: int, size: int) -> bytes:
        """Return bytes of the content; none at the end for now.

        Args:
            position: of the first byte.
            size: number of bytes; fewer are returned at the end alone.

        Raises:
            Damaged: the file is compressed and broken.
            FileNotFoundError: it was closed, and another file, or none, is at its path by now.
            OSError: it can't be read.
        """

    def status(self) -> os.stat_result:
        """Return the status of the file on the disk.

        Raises:
            FileNotFoundError: it is not open, and another file, or none, is at its path by now.
            OSError: it can't be looked at.
        """

    def close(self) -> None:
        """Close the file; a second call does nothing."""


def open_file(path: Path) -> ReadableFile:
    """Open a file, as a compressed one if its name and its first bytes say so.

    A file with the suffix of a compressed one that is empty, or has not all of the first bytes
    yet, counts as compressed: a compressor has just begun it.

    Raises:
        FileNotFoundError: nothing is there.
        FileRefused: it can't be read, or is a directory, a pipe or a device.
    """
    kind = KINDS.get(path.suffix)
    if kind is None:
        return PlainFile(path)
    compressed = CompressedFile(path, kind)
    try:
        begins_so = kind.begins(os.pread(compressed.descriptor(), kind.magic_bytes, 0))
    except OSError as error:
        compressed.close()
        raise FileRefused.of(path, error) from error
    if begins_so:
        return compressed
    compressed.close()
    return PlainFile(path)


def plain_path(path: Path) -> Path:
    """Return the path without the suffix of a compressed file."""
    return path.with_suffix("") if path.suffix in KINDS else path

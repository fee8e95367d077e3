"""A file that is read as it is."""

import errno
import os

from publisher.ship.files.regular_file import RegularFile

_HOLE_BYTES = 512
"""Fewer NULs at the start of a file are data."""
_CHUNK_BYTES = 65_536


class PlainFile(RegularFile):
    """A file whose bytes are its plain content.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: nothing is there.
        FileRefused: it can't be read, or is a directory, a pipe or a device.
    """

    is_compressed = False
    ends_early = False

    def read(self, position: int, size: int) -> bytes:
        """Return bytes of the content; none at the end for now.

        Args:
            position: of the first byte.
            size: number of bytes; fewer are returned at the end alone.

        Raises:
            FileNotFoundError: it was closed, and another file, or none, is at its path by now.
            OSError: it can't be read.
        """
        file = self.descriptor()
        data = os.pread(file, size, position)
        # Linux reads no more than 2 GiB at once, and network file systems may return less.
        while data and len(data) < size:
            more = os.pread(file, size - len(data), position + len(data))
            if not more:
                break
            data += more
        return data


def data_start(fd: int) -> int:
    """Return where the data of a file begin, behind the hole that a writer left at its start.

    Returns:
        The position of the first byte that is not NUL, if at least 512 NULs stand before it, else
        0. Where nothing else is there, the end for now.

    Raises:
        OSError: it can't be read.
    """
    if os.pread(fd, _HOLE_BYTES, 0) != bytes(_HOLE_BYTES):
        return 0
    position = 0
    while True:
        position = _behind_hole(fd, position)
        chunk = os.pread(fd, _CHUNK_BYTES, position)
        data = chunk.lstrip(b"\0")
        position += len(chunk) - len(data)
        if data or not chunk:
            return position


def _behind_hole(fd: int, position: int) -> int:
    """Return the position, or where the hole ends that it is in, as far as that is told."""
    end = os.fstat(fd).st_size
    try:
        return os.lseek(fd, position, os.SEEK_DATA)
    except OSError as error:
        # There is no data any more up to the end that was; or it is for reading to find out.
        return max(position, end) if error.errno == errno.ENXIO else position

"""A compressed file that is read as the content it was made of."""

import os
from pathlib import Path

from publisher.ship.files.decoders import Decoder, Kind
from publisher.ship.files.regular_file import RegularFile

_INPUT_BYTES = 32_768
_OUTPUT_BYTES = 65_536
_KEPT_BYTES = 16_384
"""So much before the present place can be read again without decoding anew."""


class Damaged(Exception):
    """A compressed file is broken; the message is one sentence that names it."""


class CompressedFile(RegularFile):
    """A compressed file is decoded from its start on; what is read behind the place goes on there.

    Its members follow one another, with nothing but NULs between and behind them.

    Args:
        path: of the file.
        kind: of its compression.

    Raises:
        FileNotFoundError: nothing is there.
        FileRefused: it can't be read, or is a directory, a pipe or a device.
    """

    is_compressed = True

    def __init__(self, path: Path, kind: Kind) -> None:
        super().__init__(path)
        self._kind = kind
        self.ends_early = False
        """Whether the end was reached by reading, and that of the archive was not there (yet)."""
        self._begin()

    def read(self, position: int, size: int) -> bytes:
        """Return bytes of the plain content; none at the end for now.

        What is behind the present place is decoded on the way; for what is far before it, all is
        decoded anew.

        Args:
            position: of the first byte in the plain content.
            size: number of bytes; fewer are returned at the end alone, or before what is broken.

        Raises:
            Damaged: the archive is broken there.
            FileNotFoundError: it was closed, and another file, or none, is at its path by now.
            OSError: it can't be read.
        """
        if position < self._kept_from:
            self._begin()
        parts: list[bytes] = []
        while size > 0:
            if position < self._kept_from + len(self._kept):
                offset = position - self._kept_from
                part = self._kept[offset : offset + size]
                parts.append(part)
                position += len(part)
                size -= len(part)
            elif self._damage:
                if parts:
                    break
                raise Damaged(self._damage)
            elif not self._decode():
                break
        return b"".join(parts)

    def close(self) -> None:
        """Close the file, and let go of the decoder; a second call does nothing."""
        super().close()
        self._begin()

    def _begin(self) -> None:
        self._decoder: Decoder | None = None
        """None between two members."""
        self._members = 0
        """Number of members that were decoded to their end."""
        self._input = b""
        """What was read of the file and not given to a decoder."""
        self._input_bytes = 0
        """How far the file was read."""
        self._kept = b""
        """What was decoded last."""
        self._kept_from = 0
        """The position of that in the plain content."""
        self._damage = ""

    def _decode(self) -> bool:
        """Decode a step; gives False at the end of the file for now."""
        if not self._input and (self._decoder is None or self._decoder.needs_input):
            self._input = os.pread(self.descriptor(), _INPUT_BYTES, self._input_bytes)
            self._input_bytes += len(self._input)
            if not self._input:
                self.ends_early = self._decoder is not None or not self._members
                return False
        if self._decoder is None:
            if self._members:
                self._input = self._input.lstrip(b"\0")  # tapes are filled up with them
            if not self._input:
                return True
            self._decoder = self._kind.make_decoder()
        data, self._input = self._input, b""
        try:
            plain = self._decoder.decompress(data, _OUTPUT_BYTES)
        except self._kind.errors as error:
            self._damage = (
                f"{os.fspath(self.path)!r} is broken behind byte "
                f"{self._kept_from + len(self._kept):,} of its content: {error}"
            )
            return True
        if self._decoder.eof:
            self._input = self._decoder.unused_data
            self._decoder = None
            self._members += 1
        dropped = max(len(self._kept) - _KEPT_BYTES, 0)
        self._kept = self._kept[dropped:] + plain
        self._kept_from += dropped
        return True

"""Strict, incremental decompression of gzip.

aiohttp's own decompression accepts a stream that was cut short as complete, which would lose
events. This one knows where a stream ends. Several members are one stream (RFC 1952).
"""

import zlib
from collections.abc import Iterator

from aggregator.wire.errors import MalformedBody

_PIECE_BYTES = 65_536
_GZIP_ONLY = 31


class Gunzip:
    """Decompresses one gzip stream: call `feed` with its bytes, then `finish`."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_ONLY)
        self._fed = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress bytes of the stream.

        Args:
            data: the next bytes.

        Yields:
            The decompressed bytes, in pieces of 64 KiB at most.

        Raises:
            MalformedBody: not gzip, damaged, or bytes behind the end.
        """
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP_ONLY)
            self._fed = True
            try:
                piece = self._member.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise MalformedBody(f"the body is not valid gzip: {error}") from error
            if piece:
                yield piece
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if not data and len(piece) == _PIECE_BYTES and not self._member.eof:
                yield from self._flushed()

    def _flushed(self) -> Iterator[bytes]:
        # All input is consumed, but the decompressor may still hold output back.
        while piece := self._member.decompress(b"", _PIECE_BYTES):
            yield piece

    def finish(self) -> None:
        """Check that the stream is complete.

        Raises:
            MalformedBody: it was cut short.
        """
        if not self._fed or not self._member.eof:
            raise MalformedBody("the gzip body ends before its stream does; it was cut short")

"""Decoders of compressed data, by one interface."""

import bz2
import sys
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Decoder(Protocol):
    """A decoder decodes one member of an archive, piece by piece."""

    @property
    def eof(self) -> bool:
        """Whether the end of the member was decoded."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes without more input."""

    @property
    def unused_data(self) -> bytes:
        """The input behind the end of the member."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return what comes of input, and of input before that was not used up.

        Args:
            data: the next bytes of the archive.
            max_length: at most so many bytes are returned.
        """


class GzipDecoder:
    """A decoder of gzip, which checks the sum at the end of a member."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._is_full = False

    @property
    def eof(self) -> bool:
        """Whether the end of the member was decoded."""
        return self._decoder.eof

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes without more input."""
        return not self._decoder.eof and not self._is_full

    @property
    def unused_data(self) -> bytes:
        """The input behind the end of the member."""
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return what comes of input, and of input before that was not used up."""
        plain = self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)
        # What it holds back inside is told by nothing but that it filled all the room.
        self._is_full = len(plain) == max_length or bool(self._decoder.unconsumed_tail)
        return plain


class Kind(NamedTuple):
    """A kind of compression.

    Attributes:
        make_decoder: makes a decoder of a member.
        begins: tells whether an archive begins with bytes, or may do so when more follow.
        magic_bytes: number of bytes for which `begins` is certain.
        errors: what a decoder raises for data that are broken.
    """

    make_decoder: Callable[[], Decoder]
    begins: Callable[[bytes], bool]
    magic_bytes: int
    errors: tuple[type[Exception], ...]


def _begins_gzip(data: bytes) -> bool:
    return data[:3] == b"\x1f\x8b\x08"[: len(data)]


def _begins_bzip2(data: bytes) -> bool:
    return data[:3] == b"BZh"[: len(data)] and (len(data) < 4 or data[3:4] in b"123456789")


def _begins_zstd(data: bytes) -> bool:
    """Tell of a frame, and of a frame that is skipped, with which pzstd begins."""
    is_frame = data[:4] == b"\x28\xb5\x2f\xfd"[: len(data)]
    is_skipped = (
        0x50 <= data[0] < 0x60 and data[1:4] == b"\x2a\x4d\x18"[: len(data) - 1] if data else True
    )
    return is_frame or is_skipped


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        ".gz": Kind(GzipDecoder, _begins_gzip, 3, (zlib.error,)),
        ".bz2": Kind(bz2.BZ2Decompressor, _begins_bzip2, 4, (OSError, EOFError, ValueError)),
        ".zst": Kind(
            zstd.ZstdDecompressor, _begins_zstd, 4, (zstd.ZstdError, EOFError, ValueError)
        ),
    }
)
"""The kinds by the suffix of their files."""

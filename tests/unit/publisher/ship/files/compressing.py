"""What compressors make, by the suffix of their files."""

import bz2
import gzip
import sys
import zlib
from collections.abc import Callable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def _gzip_flushed(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush(zlib.Z_SYNC_FLUSH)


def _bzip2(content: bytes) -> bytes:
    return bz2.compress(content, 1)  # in blocks of 100 kB, so that there are several


def _bzip2_flushed(content: bytes) -> bytes:
    return bz2.BZ2Compressor(1).compress(content)


def _zstd_flushed(content: bytes) -> bytes:
    return zstd.ZstdCompressor().compress(content, zstd.ZstdCompressor.FLUSH_BLOCK)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": _bzip2,
    ".zst": zstd.compress,
}
FLUSHED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": _gzip_flushed,
    ".bz2": _bzip2_flushed,
    ".zst": _zstd_flushed,
}
"""What a compressor has written when it was given a content and the end is to come."""

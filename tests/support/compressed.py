"""Compressed answers, decompressed as a strict client does."""

import sys
import zlib
from collections.abc import Callable
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor
else:
    from backports.zstd import ZstdDecompressor


class Decompressor(Protocol):
    """Decompresses piece by piece."""

    def decompress(self, data: bytes, /) -> bytes: ...


def new_decompressor(coding: str) -> Decompressor:
    """One of a content coding."""
    return ZstdDecompressor() if coding == "zstd" else zlib.decompressobj(16 + zlib.MAX_WBITS)


def decompress_zstd(data: bytes) -> bytes:
    """One frame, and nothing behind it: not every client reads a second one."""
    decompressor = ZstdDecompressor()
    text = decompressor.decompress(data)
    assert decompressor.eof
    assert not decompressor.unused_data
    return text


def decompress_gzip(data: bytes) -> bytes:
    """One member, complete."""
    decompressor = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    text = decompressor.decompress(data)
    assert decompressor.eof
    assert not decompressor.unused_data
    return text


DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": decompress_zstd,
    "gzip": decompress_gzip,
}

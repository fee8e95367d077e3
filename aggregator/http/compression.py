"""Compression of answers to reads: zstd and gzip.

Levels and sizes were measured; see
`docs/understand/decisions/0036-answers-to-reads-are-streamed-and-compressed.md`.
"""

import asyncio
import sys
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from aiohttp import hdrs, web

from aggregator.http.read_response import ReadResponse
from aggregator.wire.accept import content_coding

if sys.version_info >= (3, 14):
    from compression.zstd import CompressionParameter, ZstdCompressor
else:
    from backports.zstd import CompressionParameter, ZstdCompressor

_MIN_BYTES = 1024
"""A smaller answer is not compressed: its head is as large."""

_MAX_INLINE_BYTES = 32 * 1024
"""What is larger is compressed in a thread, beside the event loop."""

_THREADS = 2

_MAX_STREAMS = 32
"""Streams that are compressed at once; each holds up to half a MiB for that."""

_GZIP_LEVEL = 1
_ZSTD_OPTIONS: dict[int, int] = {
    CompressionParameter.compression_level: 1,
    CompressionParameter.window_log: 17,
}


class Compressor(Protocol):
    """Compresses an answer piece by piece."""

    def compress(self, piece: bytes) -> bytes:
        """Compress a piece; some of it may be returned later."""
        ...

    def flush(self) -> bytes:
        """Return what a reader needs to have all of the pieces that were compressed."""
        ...

    def finish(self) -> bytes:
        """Return the end of what is compressed."""
        ...


class _Zstd:
    def __init__(self) -> None:
        self._compressor = ZstdCompressor(options=_ZSTD_OPTIONS)

    def compress(self, piece: bytes) -> bytes:
        return self._compressor.compress(piece)

    def flush(self) -> bytes:
        return self._compressor.flush(ZstdCompressor.FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._compressor.flush()


class _Gzip:
    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_GZIP_LEVEL, wbits=16 + zlib.MAX_WBITS)

    def compress(self, piece: bytes) -> bytes:
        return self._compressor.compress(piece)

    def flush(self) -> bytes:
        return self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._compressor.flush()


_COMPRESSORS: dict[str, type[Compressor]] = {"zstd": _Zstd, "gzip": _Gzip}


def coding_of(request: web.Request, size: int) -> str | None:
    """Return the content coding of an answer to a read of so many bytes."""
    if size < _MIN_BYTES:
        return None
    return content_coding(request.headers.getall(hdrs.ACCEPT_ENCODING, ()))


class Compression:
    """Compresses answers, few at a time."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "compression")
        self._streams = 0

    async def encode(self, request: web.Request, answer: ReadResponse) -> None:
        """Give an answer the content coding that its client wants most.

        Args:
            request: that it answers.
            answer: its parts are replaced one by one; nothing is done the second time.
        """
        if answer.is_encoded:
            return
        answer.is_encoded = True
        coding = coding_of(request, answer.size)
        if coding is None:
            answer.content_length = answer.size
            return
        answer.headers[hdrs.CONTENT_ENCODING] = coding
        if request.method == hdrs.METH_HEAD:
            return
        if answer.coded is None:
            answer.parts = await self._compress(answer.parts, coding)
        else:
            if coding not in answer.coded:
                compressing = self._compress(deque(answer.parts), coding)
                answer.coded[coding] = asyncio.ensure_future(compressing)
            # Who gives up must not take it from the others.
            answer.parts = deque(await asyncio.shield(answer.coded[coding]))
        answer.content_length = answer.size

    async def _compress(self, parts: deque[bytes], coding: str) -> deque[bytes]:
        """Compress parts, which are gone afterwards."""
        if sum(map(len, parts)) <= _MAX_INLINE_BYTES:
            return _compressed(parts, coding)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _compressed, parts, coding)

    @contextmanager
    def stream(self, coding: str | None) -> Iterator["StreamCompression | None"]:
        """Lend a compressor for a stream; None if there is none to be had or wanted.

        Args:
            coding: `zstd` or `gzip`; None: as it is.
        """
        if coding is None or self._streams >= _MAX_STREAMS:
            yield None
            return
        self._streams += 1
        try:
            yield StreamCompression(coding, self._threads)
        finally:
            self._streams -= 1

    def close(self) -> None:
        """End the threads, without waiting for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class StreamCompression:
    """Compresses one stream.

    Args:
        coding: `zstd` or `gzip`.
        threads: what is large is compressed there.
    """

    def __init__(self, coding: str, threads: ThreadPoolExecutor) -> None:
        self.coding = coding
        self._compressor = _COMPRESSORS[coding]()
        self._threads = threads

    async def compress(self, piece: bytes) -> bytes:
        """Compress a piece, so that its reader has all of it at once."""
        if len(piece) <= _MAX_INLINE_BYTES:
            return self._compress(piece)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._compress, piece)

    def finish(self) -> bytes:
        """Return the end of the compressed stream."""
        return self._compressor.finish()

    def _compress(self, piece: bytes) -> bytes:
        return self._compressor.compress(piece) + self._compressor.flush()


def _compressed(parts: deque[bytes], coding: str) -> deque[bytes]:
    compressor = _COMPRESSORS[coding]()
    done: deque[bytes] = deque()
    while parts:
        # Each is freed as soon as it is compressed.
        done.append(compressor.compress(parts.popleft()))
    done.append(compressor.finish())
    return done

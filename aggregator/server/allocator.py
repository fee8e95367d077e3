"""The C library's allocator, told to give large blocks back.

glibc learns from what is freed: after the first block of some MiB it takes those of that size from
its heaps, one of them a thread, where they leave gaps and stay. Reads make such blocks in several
threads, so that the process grew to twice what it held.
"""

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_LARGE_BYTES = 4 * 2**20
"""Blocks of this size are the system's as soon as they are freed, and so is as much at the end of a
heap. Smaller ones are made too often for that: each time, the system has to clear their pages."""


def give_large_blocks_back() -> None:
    """Set both bounds, with a C library that has them."""
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)

"""What a file is known by, whatever its name: inode and birth."""

import ctypes
import os
import struct
import sys
from collections.abc import Callable
from typing import NamedTuple

_AT_EMPTY_PATH = 0x1000
_STATX_BTIME = 0x800
_STATX_BYTES = 256
_MASK = struct.Struct("=I")
_TIME = struct.Struct("=qI")
_BIRTH_AT = 80
_SECOND_NS = 1_000_000_000


class FileIdentity(NamedTuple):
    """An identity tells a file from others as long as it exists.

    Attributes:
        device: number of the device, which may change when a file system is mounted anew.
        inode: number of the inode, which may be given to a new file when the file is deleted.
        birth_ns: when the file was made, in nanoseconds since 1970; None where that is not told.
    """

    device: int
    inode: int
    birth_ns: int | None


def identify(fd: int) -> FileIdentity:
    """Return the identity of an open file.

    Raises:
        OSError: it can't be looked at.
    """
    status = os.fstat(fd)
    birth_ns = _birth_ns(fd) if sys.platform == "linux" else _told_birth_ns(status)
    return FileIdentity(status.st_dev, status.st_ino, birth_ns)


def is_same(a: FileIdentity, b: FileIdentity) -> bool:
    """Tell whether two identities are of one file; without a birth the devices must be equal."""
    if a.inode != b.inode:
        return False
    if a.birth_ns is None or b.birth_ns is None:
        return a.device == b.device
    return a.birth_ns == b.birth_ns


def _function() -> Callable[..., int] | None:
    """Return statx(2) of the C library, None where it has none, as musl before 1.2.5."""
    try:
        function = ctypes.CDLL(None, use_errno=True).statx
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_char_p,
    )
    function.restype = ctypes.c_int
    return function


_statx = _function() if sys.platform == "linux" else None


def _birth_ns(fd: int) -> int | None:
    """Return the birth by statx(2); None where kernel, C library or file system do not tell it."""
    if _statx is None:
        return None
    told = ctypes.create_string_buffer(_STATX_BYTES)
    # A filter of system calls may forbid it, as Docker's once did: then nothing is told either.
    if _statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, told) != 0:
        return None
    if not _MASK.unpack_from(told)[0] & _STATX_BTIME:
        return None
    seconds, nanoseconds = _TIME.unpack_from(told, _BIRTH_AT)
    return int(seconds * _SECOND_NS + nanoseconds) or None


def _told_birth_ns(status: os.stat_result) -> int | None:
    seconds = getattr(status, "st_birthtime", None)
    exact = getattr(status, "st_birthtime_ns", None)
    if exact is None and seconds is not None:
        exact = round(seconds * _SECOND_NS)
    return exact

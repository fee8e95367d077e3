"""Where a line that is too long is cut."""

# One byte takes at most six in JSON (a control character: \u0000), so a piece stays below the
# 1 MiB that an aggregator takes as one payload, whatever its bytes are.
MAX_PIECE_BYTES = 131_072
"""The greatest length of the bytes in a text record."""
MAX_CHARACTER_BYTES = 4


def cut_place(line: bytes, max_bytes: int) -> int:
    """Return the last place at or before `max_bytes` where a UTF-8 character may begin.

    Args:
        line: longer than that.
        max_bytes: at least 1.
    """
    for cut in range(max_bytes, max(max_bytes - MAX_CHARACTER_BYTES, 0), -1):
        if not _is_continuation(line[cut]):
            return cut
    return max_bytes


def _is_continuation(byte: int) -> bool:
    return byte & 0b1100_0000 == 0b1000_0000

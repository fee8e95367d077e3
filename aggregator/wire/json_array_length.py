"""A bound on the number of members of a JSON array, without an object for each.

Sixteen MiB of `[0,0,0,…]` are eight million members: small to send, half a gigabyte as
objects. So the members of a long text are counted before it is decoded, and the counting ends at
the limit.
"""

import re

_MIN_COUNTED = 200_000
"""Fewer members are cheap as objects, and counting them would cost more."""

# A string that never ends is taken to the end of the text, so that the search is linear.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)


def has_far_more_members(array: bytes, limit: int) -> bool:
    """Check whether an array has more than `limit` members, if it may have very many.

    Args:
        array: the JSON text of an array.
        limit: the limit, at least 1.

    Returns:
        True if there are more than `limit` and very many. False leaves open whether there are more
        than `limit`: they are then few enough to be decoded and counted.
    """
    if array.count(b",") < max(limit, _MIN_COUNTED):
        return False
    depth = commas = 0
    for token in _TOKEN.finditer(array):
        kind = token[0][:1]
        if kind in b"[{":
            depth += 1
        elif kind in b"]}":
            depth -= 1
        elif kind == b"," and depth == 1:
            commas += 1
            if commas == limit:
                return True
    return False

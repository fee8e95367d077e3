"""How many members a JSON array has, without making an object of each.

Sixteen MiB of `[0,0,0,…]` are eight million members: small to send, half a gigabyte as
objects. So a text that may have very many is counted before it is taken apart, and counting
ends at the limit.
"""

import re

_FEW = 200_000
"""So many members are cheap to make objects of; counting them would cost more."""

# A string that never ends is taken to the end of the text, so that the search is linear.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)


def has_far_more_members(array: bytes, limit: int) -> bool:
    """Whether an array has more than `limit` members, and very many.

    Args:
        array: valid JSON, an array.
        limit: at least 1.

    False does not mean that there are not more than `limit`, but that they can be counted in
    the ordinary way.
    """
    if array.count(b",") < max(limit, _FEW):
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

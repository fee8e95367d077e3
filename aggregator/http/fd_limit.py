"""Descriptors: how many connections the system lets this process have."""

import sys
from typing import NamedTuple

if sys.platform != "win32":
    import resource

_BACKLOG = 1024
_OWN = 64
"""For the database, its files, and what else is not a connection of a client."""


class Room(NamedTuple):
    """What fits into the limit on descriptors."""

    connections: int
    """So many may be open at once."""
    backlog: int
    """So many may wait to be accepted; they can come all at once."""


def make_room(max_connections: int) -> Room:
    """Raise the limit on descriptors as far as is needed and allowed; returns what fits into it.

    A server without descriptors could not accept, and not reach its database either, so enough
    are kept back.
    """
    if sys.platform == "win32":
        return Room(max_connections, _BACKLOG)
    needed = max_connections + 2 * _BACKLOG + _OWN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = soft
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit == resource.RLIM_INFINITY:
        return Room(max_connections, _BACKLOG)
    backlog = max(min(_BACKLOG, limit // 8), 1)
    return Room(max(min(max_connections, limit - 2 * backlog - _OWN), 1), backlog)

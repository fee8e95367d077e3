"""The limit on file descriptors: how many connections the system allows this process."""

import sys
from typing import NamedTuple

if sys.platform != "win32":
    import resource

_BACKLOG = 1024
_OWN_DESCRIPTORS = 64
"""Kept back for the database, its files, and what else is not a connection of a client."""


class ConnectionRoom(NamedTuple):
    """The connections that the limit on file descriptors has room for.

    Attributes:
        connections: open at once.
        backlog: waiting to be accepted, which can come all at once.
    """

    connections: int
    backlog: int


def make_room(max_connections: int) -> ConnectionRoom:
    """Raise the limit on file descriptors as far as needed and allowed.

    A server without descriptors could not accept, and not reach its database either, so enough
    are kept back.

    Args:
        max_connections: connections wanted.

    Returns:
        The connections that the limit then has room for.
    """
    if sys.platform == "win32":
        return ConnectionRoom(max_connections, _BACKLOG)
    needed = max_connections + 2 * _BACKLOG + _OWN_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = soft
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit == resource.RLIM_INFINITY:
        return ConnectionRoom(max_connections, _BACKLOG)
    backlog = max(min(_BACKLOG, limit // 8), 1)
    return ConnectionRoom(
        max(min(max_connections, limit - 2 * backlog - _OWN_DESCRIPTORS), 1), backlog
    )

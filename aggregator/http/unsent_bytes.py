"""The bytes of an answer that the kernel holds and has not sent."""

import asyncio
import socket

_MAX_BYTES = 256 * 1024
"""Less slows a fast reader down; what was sent and is on its way does not count."""

_OPTION = getattr(socket, "TCP_NOTSENT_LOWAT", None)


def bound_unsent_bytes(transport: asyncio.Transport) -> None:
    """Bound what the kernel holds of a stream that follows the log, while its connection lasts.

    Without it the kernel takes some megabytes for each reader that never reads, and they look as
    if they were taken. Where the system has no such bound, or the connection is none of TCP, that
    is so.

    Args:
        transport: of the connection.
    """
    connection = transport.get_extra_info("socket")
    if _OPTION is None or connection is None or connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.IPPROTO_TCP, _OPTION, _MAX_BYTES)

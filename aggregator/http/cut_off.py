"""The cut-off of an answer in the middle, so that its reader sees that it is not all."""

import asyncio
import socket
import struct

from aiohttp import HttpVersion11, web


def end_without_last_chunk(request: web.Request, transport: asyncio.Transport) -> None:
    """End the connection of a response in the middle, so that its reader sees that it is not all.

    What the kernel has is still sent, and then the last chunk is missing. With HTTP/1.0 the end of
    the connection would be that of the answer, so it is reset.
    """
    socket_ = transport.get_extra_info("socket")
    if request.version < HttpVersion11 and socket_ is not None:
        socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()

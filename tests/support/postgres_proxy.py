"""A network between an aggregator and Postgres that a test can cut, silence and slow down."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto

from support.own_postgres import OwnPostgres
from support.streams import listening

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CHUNK_BYTES = 65_536


class Way(Enum):
    """A direction in which bytes go."""

    TO_SERVER = auto()
    TO_CLIENT = auto()


class PostgresProxy:
    """Passes bytes on, both ways, between a TCP port and a server on a Unix socket.

    `delay_s` is waited before each piece of at most `piece_bytes` is passed on.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._passing = {way: asyncio.Event() for way in Way}
        self._writers: set[asyncio.StreamWriter] = set()
        self._refusing = False
        self.delay_s = 0.0
        self.piece_bytes = _CHUNK_BYTES
        self.held_back = 0
        """Pieces that silence has kept so far."""
        self.refused = 0
        """Connections that were tried since it was cut."""
        self.cut_before: re.Pattern[bytes] | None = None
        """A piece to the server with this in it is not passed on, but cuts it."""
        self.cut_at: tuple[Way, int] | None = None
        """The piece of one way, from 0 on, that is not passed on, but cuts it; then None again."""
        self.restore()

    def silence(self, *ways: Way) -> None:
        """Let nothing through any more, the end of a connection included; it arrives late.

        Args:
            ways: the directions to silence; both if none is named.
        """
        for way in ways or Way:
            self._passing[way].clear()

    def cut(self) -> None:
        """Reset every connection, and each that is made from now on."""
        self._refusing = True
        for writer in tuple(self._writers):
            _reset(writer)

    def restore(self) -> None:
        """Let everything through again."""
        self._refusing, self.refused, self.cut_before, self.cut_at = False, 0, None, None
        for passing in self._passing.values():
            passing.set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Deal with one connection."""
        if self._refusing:
            self.refused += 1
            _reset(writer)
            return
        server_reader, server_writer = await asyncio.open_unix_connection(self._target)
        pumps = [
            asyncio.create_task(self._pump(Way.TO_SERVER, reader, server_writer)),
            asyncio.create_task(self._pump(Way.TO_CLIENT, server_reader, writer)),
        ]
        self._writers |= {writer, server_writer}
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._writers -= {writer, server_writer}
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            server_writer.close()
            await asyncio.gather(server_writer.wait_closed(), return_exceptions=True)

    async def _pump(
        self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # The end of a connection waits here as well: a silent network does not tell of it.
        with suppress(OSError):
            while piece := await reader.read(self.piece_bytes):
                if way is Way.TO_SERVER and self.cut_before and self.cut_before.search(piece):
                    self.cut()
                    return
                if self._is_due(way):
                    self.cut()
                    return
                self.held_back += not self._passing[way].is_set()
                await self._passing[way].wait()
                await asyncio.sleep(self.delay_s)
                writer.write(piece)
                await writer.drain()
        await self._passing[way].wait()

    def _is_due(self, way: Way) -> bool:
        if self.cut_at is None or self.cut_at[0] is not way:
            return False
        _, left = self.cut_at
        self.cut_at = (way, left - 1) if left else None
        return not left


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


@asynccontextmanager
async def postgres_proxy(server: OwnPostgres) -> AsyncIterator[tuple[PostgresProxy, int]]:
    """A proxy in front of a server, and the port it listens on."""
    proxy = PostgresProxy(str(server.socket))
    async with listening(proxy.talk) as port:
        try:
            yield proxy, port
        finally:
            proxy.cut()

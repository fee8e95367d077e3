"""The ceiling of streams: a bare asyncio server that writes the same pieces to all who connect.

    python -m benchmarks.bare_streams RECORD start|now    # prints its port

RECORD is what came of one stream. From `start` each connection is written all of it, from `now` its
first piece, and the others when somebody sends a POST.
"""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

import uvloop


def pieces(record: bytes) -> list[bytes]:
    """Cut a chunked answer into its pieces: its head with the first chunk, and each other chunk.

    A last chunk that is cut short is left out.
    """
    found: list[bytes] = []
    begin, at = 0, record.index(b"\r\n\r\n") + 4
    while (line_end := record.find(b"\r\n", at)) >= 0:
        end = line_end + 2 + int(record[at:line_end], 16) + 2
        if end > len(record):
            break
        found.append(record[begin:end])
        begin = at = end
    return found


class _Player:
    def __init__(self, played: list[bytes]) -> None:
        self.go = asyncio.Event()
        self._played = played

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # who has read all that it wants goes
            if (await reader.readuntil(b"\r\n\r\n")).startswith(b"POST "):
                self.go.set()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            else:
                await self._play(writer)
            await reader.read()
        writer.close()

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self._played[0])
        await self.go.wait()
        for piece in self._played[1:]:
            writer.write(piece)
            await writer.drain()


async def _serve(record: bytes, start: str) -> None:
    player = _Player(pieces(record))
    if start == "start":
        player.go.set()
    server = await asyncio.start_server(player.talk, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1]).read_bytes(), sys.argv[2]))

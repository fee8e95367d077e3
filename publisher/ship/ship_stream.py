"""Shipping of standard input, until its end."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from publisher.ship.files.line_reader import LineReader
from publisher.ship.files.readable_file import FileRefused
from publisher.ship.records.record import ContentNames
from publisher.ship.run_sending import run_sending
from publisher.ship.sending import Sender
from publisher.ship.stdin import chunks
from publisher.ship.target import Report, Target

STDIN = Path("-")
_UNFINISHED_WAIT_S = 1.0
_TICK_S = 0.05


@dataclass(frozen=True, slots=True)
class _Stream:
    """Standard input as an origin: a new one each time, with ids that no other has."""

    name: str
    source: str
    path: Path = STDIN


async def ship_stream(
    file: int, target: Target, report: Report, stop: asyncio.Event | None = None
) -> None:
    """Ship what comes from a descriptor, as it comes, until its end.

    A stream is a new one each time, with ids of its own, whatever it says: nobody can tell a
    stream that is sent again from one that says the same again.

    Args:
        file: the descriptor.
        target: where the records go.
        report: whom to tell.
        stop: ends it before; what was sent is waited for, at most 10 seconds.

    Raises:
        FileRefused: it cannot be read.
        ShipStopped: a request was refused or given up.
    """
    stream = hashlib.sha256(uuid.uuid4().bytes).hexdigest()[:20]
    source = target.source.of_content(target.host, "stdin", "stdin")
    origin = _Stream(stream, source)
    lines = LineReader(0, b"", target.line_format.max_line_bytes)
    reader = target.line_format.reader(ContentNames(target.host, "stdin", "stdin"))
    clock = asyncio.get_running_loop().time

    async def send_all(sender: Sender) -> None:
        try:
            async for chunk in _chunks_or_ticks(file):
                if chunk:
                    await sender.send(origin, reader.feed(lines.feed(chunk), clock()))
                else:
                    await sender.send(origin, reader.expire(clock()))
                    await sender.flush()
        except OSError as error:
            raise FileRefused.of(STDIN, error) from error
        rest = reader.feed(lines.finish(), clock()) + reader.finish()
        await sender.send(origin, rest)

    await run_sending(send_all, target, report, None, stop)


async def _chunks_or_ticks(file: int) -> AsyncIterator[bytes]:
    """Yield what arrives, and nothing when no more has arrived for a moment."""
    arriving = aiter(chunks(file))
    coming = asyncio.ensure_future(anext(arriving, None))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=_TICK_S)
            if not done:
                yield b""
                # With nothing under way there is no need to wake up, but for what is unfinished.
                await asyncio.wait({coming}, timeout=_UNFINISHED_WAIT_S)
                continue
            chunk = coming.result()
            if chunk is None:
                return
            yield chunk
            coming = asyncio.ensure_future(anext(arriving, None))
    finally:
        coming.cancel()

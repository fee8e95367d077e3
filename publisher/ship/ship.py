"""Shipping of files and patterns, once or for as long as they grow."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from publisher.ship.bookkeeping import Keep
from publisher.ship.files.checkpoint import Checkpoint
from publisher.ship.files.content import Content
from publisher.ship.files.watch import Watch
from publisher.ship.following import Following
from publisher.ship.keeping import KeepContents
from publisher.ship.reading import Reading
from publisher.ship.run_sending import run_sending
from publisher.ship.sending import Sender
from publisher.ship.target import Report, Target


async def ship(
    names: Sequence[Path], target: Target, report: Report, *, checkpoint: Checkpoint | None = None
) -> bool:
    """Ship files once, one after another, each to the end that it has when it is read.

    Args:
        names: paths and patterns.
        target: where the records go.
        report: whom to tell.
        checkpoint: where to go on, and kept behind what is acknowledged; not behind a last line
            without newline, which may be under way.

    Returns:
        Whether all files could be read.

    Raises:
        ShipStopped: a request was refused or given up; what is behind it is not sent.
        CheckpointRefused, DeadLettersRefused: what was acknowledged can't be kept.
    """
    reading = _reading(names, target, checkpoint, follows=False)
    clock = asyncio.get_running_loop().time
    told = 0

    def tell(sentences: Sequence[str]) -> None:
        nonlocal told
        told += len(sentences)
        for sentence in sentences:
            report.tell_of_file(sentence)

    async def send_all(sender: Sender) -> None:
        _paths, sentences = await reading.look(clock())
        tell(sentences)
        contents = reading.catalog.contents()
        report.expect_bytes(_bytes_left(contents))
        for content in contents:
            while True:
                found, sentences = await reading.read(content, clock())
                tell(sentences)
                if found is None:
                    break
                await sender.send(*found)
            if content in reading.catalog.contents():
                for found in reading.catalog.finish(content, clock()):
                    await sender.send(*found)
        for found in reading.catalog.left(clock()):
            await sender.send(*found)
        tell(await reading.keep())

    with contextlib.closing(reading):
        await run_sending(send_all, target, report, _keep(checkpoint, target))
    return not told


async def follow(
    names: Sequence[Path],
    target: Target,
    report: Report,
    stop: asyncio.Event,
    *,
    checkpoint: Checkpoint,
) -> None:
    """Ship files and what is written to them until `stop` is set, over whatever happens to them.

    As for `ship`, but for this: a path may lead nowhere yet, and a last line waits for its newline,
    unless its file was renamed or deleted and is quiet. When stopped, what was sent is waited for,
    at most 10 seconds.
    """
    reading = _reading(names, target, checkpoint, follows=True)

    async def send_on(sender: Sender) -> None:
        async with Watch() as watch:
            await Following(reading, sender, watch, report.tell_of_file).run(stop)

    with contextlib.closing(reading):
        await run_sending(send_on, target, report, _keep(checkpoint, target), stop)


def _reading(
    names: Sequence[Path], target: Target, checkpoint: Checkpoint | None, *, follows: bool
) -> Reading:
    return Reading(
        names,
        target.line_format,
        target.source,
        target.host,
        by_source=target.by_source,
        options=target.options,
        checkpoint=checkpoint,
        follows=follows,
    )


def _keep(checkpoint: Checkpoint | None, target: Target) -> Keep | None:
    return None if checkpoint is None else KeepContents(checkpoint, target.options)


def _bytes_left(contents: Sequence[Content]) -> int:
    left = 0
    for content in contents:
        with contextlib.suppress(OSError):
            left += max(content.file.status().st_size - content.read_bytes, 0)
    return left

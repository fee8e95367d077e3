"""Shipping: files, patterns or standard input, once or for as long as they grow."""

import asyncio
import contextlib
import math
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from publisher.batching import Limits
from publisher.client import Publisher
from publisher.retry import OnRetry, RetryPolicy
from publisher.ship.checkpoint import Checkpoint
from publisher.ship.files import FollowedLogs, Logs
from publisher.ship.formats import Format
from publisher.ship.generation import Generation
from publisher.ship.lineage import Line, advance, start
from publisher.ship.lines import Splitter
from publisher.ship.log import Log
from publisher.ship.opening import refusal
from publisher.ship.shipper import Origin, Shipper, Tell
from publisher.ship.stdin import chunks
from publisher.ship.totals import Totals

STDIN = Path("-")
_LOOK_S = 0.25
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where lines go, and how.

    url: of the aggregator, without `/publish`. line_format: what a line becomes. batch_events: at
    most this many events in a request. policy: when a request is tried again.
    """

    url: str
    line_format: Format
    batch_events: int
    policy: RetryPolicy


@dataclass(frozen=True, slots=True)
class Report:
    """Whom shipping tells.

    totals: counted up. tell_of_file, tell_of_line: told a sentence of each file that is waited for,
    and of each line that was not stored, which may be very many. expect_bytes: told how many bytes
    the files have, if that is known. on_bytes: told how many more were acknowledged. on_retry: told
    of failed tries.
    """

    totals: Totals
    tell_of_file: Tell
    tell_of_line: Tell
    expect_bytes: Callable[[int], None]
    on_bytes: Callable[[int], None]
    on_retry: OnRetry


async def ship(
    names: Sequence[Path],
    target: Target,
    report: Report,
    *,
    source: str | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Ship files once, one after another, each to the end that it has when it is read.

    names: paths and patterns. source: of all events; without it, each file's base name.
    checkpoint: where to go on, and kept behind what is acknowledged; not behind a last line
    without newline, which may be under way.

    Raises FileRefused, before anything is sent if it can be known then, ShipStopped when a request
    was refused or given up (what is behind it is not sent), and CheckpointRefused.
    """
    logs = Logs(names, source, checkpoint, target.line_format.max_piece_bytes)
    report.expect_bytes(logs.survey())

    async def send_all(shipper: Shipper) -> None:
        for log in logs.one_by_one():
            while found := log.read(0.0):
                generation, lines = found
                await shipper.send(_origin(log, generation, keep=True), lines)
            for generation, lines in log.finish():
                await shipper.send(_origin(log, generation, keep=False), lines)

    await _run(send_all, target, report, checkpoint)


async def follow(
    names: Sequence[Path],
    target: Target,
    report: Report,
    stop: asyncio.Event,
    *,
    source: str | None = None,
    checkpoint: Checkpoint,
) -> None:
    """Ship logs and what is written to them until `stop` is set, over rotation and truncation.

    As for `ship`, but for this: a path may lead nowhere yet; the earlier contents of a log that
    rotation left beside it come first; a last line waits for its newline, unless its file has been
    rotated away and is quiet. When stopped, what was sent is waited for, at most 10 seconds.
    """
    logs = FollowedLogs(names, source, checkpoint, target.line_format.max_piece_bytes)
    clock = asyncio.get_running_loop().time

    async def send_on(shipper: Shipper) -> None:
        looked_at = -math.inf
        while not stop.is_set():
            if clock() - looked_at >= _LOOK_S:
                for sentence in logs.look():
                    report.tell_of_file(f"{sentence}; waiting for it")
                looked_at = clock()
            grown = False
            for log in logs:
                grown |= await _send_grown(log, shipper, clock())
            if not grown:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _LOOK_S)

    with contextlib.closing(logs):
        await _run(send_on, target, report, checkpoint, stop)


async def ship_stream(file: int, target: Target, report: Report, *, source: str) -> None:
    """Ship what comes from a descriptor, as it comes, until its end.

    A stream is a new one each time, with ids of its own, whatever it says: nobody can tell a
    stream that is sent again from one that says the same again.

    Raises FileRefused when it cannot be read, ShipStopped when a request was refused or given up.
    """
    stream = uuid.uuid4().hex
    progress = start(source, stream)
    splitter = Splitter(max_piece_bytes=target.line_format.max_piece_bytes)
    origin = Origin(STDIN, source, stream, (0, 0), keep=False, note=lambda _: None)

    async def arrived() -> AsyncIterator[list[Line]]:
        nonlocal progress
        try:
            async for chunk in chunks(file):
                for piece in splitter.feed(chunk):
                    line = advance(progress, piece)
                    progress = line.progress
                    yield [line]
        except OSError as error:
            raise refusal(STDIN, error) from error
        for piece in splitter.finish():
            yield [advance(progress, piece)]

    async def send_all(shipper: Shipper) -> None:
        async for lines in arrived():
            await shipper.send(origin, lines)

    await _run(send_all, target, report, None)


async def _run(
    send: Callable[[Shipper], Coroutine[Any, Any, None]],
    target: Target,
    report: Report,
    checkpoint: Checkpoint | None,
    stop: asyncio.Event | None = None,
) -> None:
    """Send and take in acknowledgements side by side, until all of it is done.

    stop: ends sending, and has what was sent waited for a while only.
    """
    publisher = Publisher(
        target.url,
        limits=Limits(max_batch_events=target.batch_events),
        policy=target.policy,
        ordered=True,
        on_retry=report.on_retry,
    )
    async with publisher:
        shipper = Shipper(
            publisher,
            target.line_format,
            report.totals,
            checkpoint,
            tell=report.tell_of_line,
            on_bytes=report.on_bytes,
        )
        acknowledging = asyncio.create_task(shipper.acknowledge())
        sending = asyncio.create_task(send(shipper))
        # Sending may wait for room that an aggregator that is away does not give.
        stopping = asyncio.create_task(stop.wait() if stop else _never())
        tasks = (acknowledging, sending, stopping)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() or stopping.done():
                # Also if sending failed: what was sent before that is acknowledged all the same.
                sending.cancel()
                shipper.end()
                await asyncio.wait({acknowledging}, timeout=_STOP_S if stop else None)
            if acknowledging.done():
                acknowledging.result()
            if sending.done() and not sending.cancelled():
                sending.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # What is not answered for by now is sent again next time.
            await publisher.aclose(flush=False)
            shipper.abandon()


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


async def _send_grown(log: Log, shipper: Shipper, now: float) -> bool:
    found = log.read(now)
    if found:
        generation, lines = found
        await shipper.send(_origin(log, generation, keep=True), lines)
    for generation, lines in log.finished(now):
        await shipper.send(_origin(log, generation, keep=True), lines)
    return found is not None


def _origin(log: Log, generation: Generation, *, keep: bool) -> Origin:
    return Origin(
        generation.path, log.source, generation.content, generation.identity, keep, log.note
    )

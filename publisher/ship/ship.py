"""Shipping: files, patterns or standard input, once or for as long as they grow."""

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from publisher.batching import Limits
from publisher.retry import OnRetry, RetryPolicy
from publisher.ship.dead_letters import DeadLetters
from publisher.ship.files.checkpoint import Checkpoint
from publisher.ship.files.content import Content
from publisher.ship.files.line_reader import LineReader
from publisher.ship.files.readable_file import FileRefused
from publisher.ship.files.watch import Watch
from publisher.ship.keeping import KeepContents
from publisher.ship.reading import Reading
from publisher.ship.records.record import ContentNames, Format
from publisher.ship.records.source import SourceTemplate
from publisher.ship.sending import Keep, Sender, Tell
from publisher.ship.stdin import chunks
from publisher.ship.totals import Totals

STDIN = Path("-")
_STOP_S = 10.0
_LONGEST_WAIT_S = 5.0
_UNFINISHED_WAIT_S = 1.0
_TICK_S = 0.05
_SLICES_A_TURN = 8


@dataclass(frozen=True, slots=True)
class Target:
    """Where records go, and how.

    Args:
        url: of the aggregator, without `/publish`.
        topic: of the records that have none of their own.
        line_format: makes records of lines.
        source: of the events.
        host: is part of the ids.
        by_source: ids are made of the source and the bytes alone.
        options: what of the options may make that records are refused.
        batch_events: at most this many events in a request.
        policy: when a request is tried again.
        dead_letters: take the records that break a rule.
    """

    url: str
    topic: str
    line_format: Format
    source: SourceTemplate
    host: str
    by_source: bool
    options: str
    batch_events: int
    policy: RetryPolicy
    dead_letters: DeadLetters | None


@dataclass(frozen=True, slots=True)
class Report:
    """Whom shipping tells.

    Args:
        totals: counted up.
        tell_of_file: told a sentence of each file about which there is something to say.
        tell_of_line: told of each record that was not stored as it should be, maybe very many.
        expect_bytes: told how many bytes the files have, if that is known.
        on_bytes: told how many more were acknowledged; None: nobody is.
        on_retry: told of failed tries.
    """

    totals: Totals
    tell_of_file: Tell
    tell_of_line: Tell
    expect_bytes: Callable[[int], None]
    on_bytes: Callable[[int], None] | None
    on_retry: OnRetry


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
            await _Following(reading, sender, watch, report.tell_of_file).run(stop)

    with contextlib.closing(reading):
        await run_sending(send_on, target, report, _keep(checkpoint, target), stop)


class _Following:
    """Sends what is written to files, as the files and the watch on them tell."""

    def __init__(self, reading: Reading, sender: Sender, watch: Watch, tell: Tell) -> None:
        self._reading = reading
        self._sender = sender
        self._watch = watch
        self._tell = tell
        self._clock = asyncio.get_running_loop().time

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set."""
        catalog = self._reading.catalog
        ready: list[Content] = []
        looks = True
        while not stop.is_set():
            if looks:
                await self._look()
                # What has not changed is not read: there may be thousands.
                ready = [
                    each for each in catalog.contents() if each.may_have_more or not each.is_there
                ]
            ready = [each for each in ready if await self._send_some(each)]
            for found in catalog.left(self._clock()):
                await self._sender.send(*found)
            if ready:
                looks = False
                continue
            looks = self._reading.has_replaced
            if looks:
                continue  # nothing tells of what is in the files now
            await self._sender.flush()
            changes = await self._watch.wait(catalog.wait_s(self._clock(), _LONGEST_WAIT_S))
            if changes.reason:
                self._tell(changes.reason)
            changed = {path: catalog.at(path) for path in changes.files}
            looks = (
                changes.names_changed
                or None in changed.values()
                or catalog.has_to_look(self._clock())
            )
            if not looks:
                ready = [each for each in changed.values() if each is not None]
                ready += [each for each in catalog.gone() if each not in ready]

    async def _look(self) -> None:
        paths, sentences = await self._reading.look(self._clock())
        for sentence in sentences:
            self._tell(sentence)
        self._watch.update(self._reading.names.directories(), paths)

    async def _send_some(self, content: Content) -> bool:
        """Send the next records of a content; tell whether there may be more."""
        # What was renamed or deleted goes first, to its end.
        turns = _SLICES_A_TURN if content.is_there else None
        while turns is None or turns > 0:
            found, sentences = await self._reading.read(content, self._clock())
            for sentence in sentences:
                self._tell(sentence)
            if found is None:
                return False
            await self._sender.send(*found)
            turns = None if turns is None else turns - 1
        return True


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


async def run_sending(
    send: Callable[[Sender], Coroutine[Any, Any, None]],
    target: Target,
    report: Report,
    keep: Keep | None,
    stop: asyncio.Event | None = None,
) -> None:
    """Send and take in acknowledgements side by side, until all of it is done.

    Args:
        send: sends all there is.
        target: where the records go.
        report: whom to tell.
        keep: keeps what was acknowledged.
        stop: ends sending, and has what was sent waited for a while only.
    """
    sender = Sender(
        target.url,
        target.topic,
        limits=Limits(max_batch_events=target.batch_events),
        policy=target.policy,
        totals=report.totals,
        keep=keep,
        dead_letters=target.dead_letters,
        tell=report.tell_of_line,
        on_bytes=report.on_bytes,
        on_retry=report.on_retry,
    )
    delivering = asyncio.create_task(sender.run())
    sending = asyncio.create_task(send(sender))
    # Sending may wait for room that an aggregator that is away does not give.
    stopping = asyncio.create_task(stop.wait() if stop else asyncio.Event().wait())
    tasks = (delivering, sending, stopping)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not delivering.done():
            await _deliver_the_rest(sender, delivering, sending, stop)
        if delivering.done():
            delivering.result()
        if sending.done() and not sending.cancelled():
            sending.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _deliver_the_rest(
    sender: Sender,
    delivering: "asyncio.Task[None]",
    sending: "asyncio.Task[None]",
    stop: asyncio.Event | None,
) -> None:
    # Also if sending failed: what was sent before that is acknowledged all the same.
    sending.cancel()
    await asyncio.wait({sending})
    ending = asyncio.create_task(sender.end())
    await asyncio.wait(
        {delivering, ending},
        timeout=_STOP_S if stop else None,
        return_when=asyncio.FIRST_EXCEPTION,
    )
    ending.cancel()


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

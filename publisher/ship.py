"""Files to a topic, line by line and in order, safe to run again at any time."""

import contextlib
import os
import stat
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

import aiohttp
import msgspec
from tqdm import tqdm

from publisher.batches import DEFAULT_BATCH_EVENTS, MAX_BATCH_BYTES, Batch, batches
from publisher.client import PublishGaveUp, PublishRefused, RetryPolicy, publish_batch
from publisher.lines import read_pieces
from publisher.log_events import log_event, read_fingerprint, source_name


class FileRefused(Exception):
    """A file cannot be shipped; the message is one sentence that names it."""


class ShipStopped(Exception):
    """A batch was not acknowledged; the message is one sentence: which file, where, and why."""


@dataclass(slots=True)
class Totals:
    """What was acknowledged so far. An event is a line, or a part of one that had to be cut."""

    lines: int = 0
    events: int = 0
    batches: int = 0
    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    retries: int = 0

    def __str__(self) -> str:
        """Give the closing line. The duplicates in it do not contain the conflicts."""
        sent = _counted(self.lines, "line", "lines")
        if self.events != self.lines:
            sent += f" as {_counted(self.events, 'event', 'events')}"
        return (
            f"sent {sent} in {_counted(self.batches, 'batch', 'batches')}: "
            f"stored {self.stored:,}, duplicates {self.duplicates:,}, "
            f"conflicts {self.conflicts:,}, retries {self.retries:,}"
        )


@dataclass(frozen=True, slots=True)
class _LogFile:
    path: Path
    source: str
    size_bytes: int


async def ship(
    paths: Sequence[Path],
    url: str,
    topic: str,
    totals: Totals,
    *,
    source: str | None = None,
    batch_events: int = DEFAULT_BATCH_EVENTS,
    batch_bytes: int = MAX_BATCH_BYTES,
    policy: RetryPolicy | None = None,
) -> None:
    """Send the lines of files to a topic, one file after another.

    One batch is in flight at a time, so the topic has the lines in the order of the file. On a
    terminal, stderr shows a progress bar in bytes; elsewhere one sentence for a batch that has to
    be sent again.

    totals: counted up with every batch that is acknowledged, so they also hold when this raises.
    source: of all the events; without it, each file's base name.
    batch_events, batch_bytes: limits of one request.
    policy: when a batch is tried again; without it, the default one.

    Raises FileRefused, before anything is sent if it can be known then, and ShipStopped when a
    batch was refused or given up; the files behind it are not sent.
    """
    files = _survey(paths, source)
    retry_policy = policy or RetryPolicy()
    total_bytes = sum(file.size_bytes for file in files)
    async with aiohttp.ClientSession() as session:
        with _progress(total_bytes) as progress:
            for file in files:
                with contextlib.closing(
                    _batches_of(file, topic, batch_events, batch_bytes)
                ) as file_batches:
                    for batch in file_batches:
                        await _send(session, url, file, batch, totals, retry_policy, progress)


async def _send(
    session: aiohttp.ClientSession,
    url: str,
    file: _LogFile,
    batch: Batch,
    totals: Totals,
    policy: RetryPolicy,
    progress: "tqdm[NoReturn]",
) -> None:
    told = False

    def on_retry(failure: str) -> None:
        nonlocal told
        totals.retries += 1
        if not told:
            told = True
            progress.write(
                f"{failure}; trying again for up to {policy.deadline_s:g} s", file=sys.stderr
            )

    try:
        counts = await publish_batch(
            session, url, batch.body, batch.events, policy=policy, on_retry=on_retry
        )
    except (PublishRefused, PublishGaveUp) as error:
        where = f"{_quoted(file.path)} from byte {batch.position:,} on was not sent"
        raise ShipStopped(f"{where}: {error}") from error
    totals.lines += batch.lines
    totals.events += batch.events
    totals.batches += 1
    totals.stored += counts.unique_processed
    totals.duplicates += counts.duplicate_dropped - counts.conflicts
    totals.conflicts += counts.conflicts
    progress.update(batch.file_bytes)


def _progress(total_bytes: int) -> "tqdm[NoReturn]":
    return tqdm(
        total=total_bytes,
        unit="B",
        unit_scale=True,
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
    )


def _survey(paths: Sequence[Path], source: str | None) -> list[_LogFile]:
    """Find out before the first line is sent what cannot be shipped."""
    files = []
    seen: dict[str, tuple[Path, os.stat_result]] = {}
    for path in paths:
        name = source or source_name(path)
        with _opened(path) as file:
            status = os.fstat(file.fileno())
            fingerprint = read_fingerprint(file, name)
        files.append(_LogFile(path, name, status.st_size))
        if not status.st_size:
            continue
        other, other_status = seen.setdefault(fingerprint, (path, status))
        # Lines at the same place would share an id: equal ones would be dropped in silence.
        if not os.path.samestat(status, other_status):
            raise FileRefused(
                f"{_quoted(other)} and {_quoted(path)} have the same source {name!r} and the same "
                "first line, so their lines would share ids: ship them one by one, each with a "
                "--source of its own"
            )
    return files


def _batches_of(
    file: _LogFile, topic: str, batch_events: int, batch_bytes: int
) -> Generator[Batch]:
    encoder = msgspec.json.Encoder()
    with _opened(file.path) as opened:
        # Of the file as it is open now: it may have been rotated since the survey.
        fingerprint = read_fingerprint(opened, file.source)
        yield from batches(
            read_pieces(opened),
            lambda piece: encoder.encode(
                log_event(piece, topic=topic, source=file.source, fingerprint=fingerprint)
            ),
            max_events=batch_events,
            max_bytes=batch_bytes,
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        # Before it is opened: that would wait for the other end of a named pipe.
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise FileRefused(f"cannot read {_quoted(path)}: it is a directory")
        if not stat.S_ISREG(mode):
            raise FileRefused(f"cannot read {_quoted(path)}: it is not a regular file")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise FileRefused(f"cannot read {_quoted(path)}: {error.strerror or error}") from error


def _quoted(path: Path) -> str:
    return repr(os.fspath(path))


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"

"""Numbered schema migrations, one SQL file each: `<backend>/NNNN_what.sql`.

A file that was released is never changed; the next change is the next number. The files are
applied in order, each together with the version it leads to, in one transaction under a
lock, so that two aggregators that start together do not collide. What would take long on a large
log is done between two of them, in steps of its own (see `storage.sqlite.backfill`).
"""

from pathlib import Path

import msgspec

from storage.errors import StorageMisconfigured, StorageUnavailable

AFTER_BACKFILL = {"sqlite": 4, "postgres": 6}
"""The step of each backend that comes only once what was stored before is in `appends`."""

BACKFILL_S = 5.0
"""How long opening adds to it before it lets its caller know that it is not done, in seconds."""

_DIRECTORY = Path(__file__).parent


class Migration(msgspec.Struct, frozen=True):
    """One step: the schema version it leads to and its SQL statements."""

    version: int
    sql: str


def migrations(backend: str) -> list[Migration]:
    """All steps of a backend ("sqlite" or "postgres"), oldest first, numbered from 1."""
    found = sorted((_DIRECTORY / backend).glob("*.sql"), key=lambda file: file.name)
    return [Migration(int(f.name.split("_", 1)[0]), f.read_text(encoding="utf-8")) for f in found]


def pending(backend: str, version: int) -> list[Migration]:
    """The steps that a database of schema `version` (0: empty) lacks.

    Raises:
        StorageMisconfigured: the database was written by a newer version of this program.
    """
    steps = migrations(backend)
    newest = steps[-1].version
    if version > newest:
        raise StorageMisconfigured(
            f"the database has schema version {version}, but this program knows only up to "
            f"{newest}: use the newer aggregator that wrote it, or another database"
        )
    return [step for step in steps if step.version > version]


def still_migrating(events_done: int, events_total: int) -> StorageUnavailable:
    """Make the error of an open that has not brought a large log up to date yet.

    Args:
        events_done: events stored before that are in `appends` by now.
        events_total: events stored before.
    """
    return StorageUnavailable(
        f"the schema of the log is being brought up to date: {events_done:,} of {events_total:,} "
        "events are done; it goes on by itself, and may be interrupted"
    )

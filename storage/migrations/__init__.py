"""Numbered schema migrations, one SQL file each: `<backend>/NNNN_what.sql`.

A file that was released is never changed; the next change is the next number. The files are
applied in order, each together with the version it leads to, in one transaction under a
lock, so that two aggregators that start together do not collide.
"""

from pathlib import Path

import msgspec

from storage.errors import StorageMisconfigured

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

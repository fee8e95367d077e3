"""Which files hold the contents of a log by now: the one at its path, and those beside it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from publisher.ship.checkpoint import Known
from publisher.ship.generation import Generation, identity_of
from publisher.ship.opening import OpenFile, opened_beside, opened_if_there, refusal
from publisher.ship.recognition import is_prefix_of, is_sent, original_of, owners


class Held(NamedTuple):
    """An open file that holds a content of a log.

    is_current: whether it is the one at the path. known: how far the content was sent, or is read
    if it is under way; None if it is new. like: what a new one may be a copy of, although that is
    not all there any more.
    """

    path: Path
    file: int
    is_current: bool
    known: Known | None
    like: Known | None


def arranged(
    log: Path, source: str, generations: Sequence[Generation], known: dict[str, Known]
) -> list[Held]:
    """Give what holds the contents of a log that are not sent to their end, the oldest first.

    generations: are under way. known: what else is known, by content, the one that began first at
    the front. What is only a copy is left out. The files are to be closed by the caller.

    Raises FileRefused.
    """
    under_way = {generation.content: generation.so_far(source) for generation in generations}
    files: list[OpenFile] = []
    given: set[int] = set()
    try:
        current = opened_if_there(log)
        if current is not None:
            files.append(OpenFile(log, current, is_rotated=False))
        latest = [*list(known.values())[-1:], *under_way.values()]
        files = _beside(log, files, [entry for entry in latest if entry.progress.position])
        files = _kept_open(generations, files) + files
        held = _held(files, current, under_way, known | under_way)
        given = {entry.file for entry in held}
    except OSError as error:
        raise refusal(log, error) from error
    else:
        return held
    finally:
        for file in files:
            if file.file not in given:
                os.close(file.file)


def _beside(log: Path, current: list[OpenFile], latest: list[Known]) -> list[OpenFile]:
    """Give the files beside a log and the one at its path, by each name that comes first."""
    beside = opened_beside(log, latest)
    same = {identity_of(os.fstat(file.file)) for file in current}
    other = []
    for file in beside:
        if identity_of(os.fstat(file.file)) in same:
            os.close(file.file)
        else:
            other.append(file)
    return other + current


def _kept_open(generations: Sequence[Generation], files: list[OpenFile]) -> list[OpenFile]:
    """Give those that have no name any more that would be found, but are still open."""
    named = {identity_of(os.fstat(file.file)) for file in files}
    return [
        OpenFile(generation.path, os.dup(generation.file), is_rotated=False)
        for generation in generations
        if generation.identity not in named
    ]


def _held(
    files: list[OpenFile],
    current: int | None,
    under_way: dict[str, Known],
    known: dict[str, Known],
) -> list[Held]:
    rotated = {file.file for file in files if file.is_rotated}
    found = owners([file.file for file in files], rotated, current, known.values())
    present = {entry.content for entry in found.values()}
    missing = [entry for entry in known.values() if entry.content not in present]
    held = []
    for place, (path, file, _) in enumerate(files):
        entry = found.get(file)
        is_current = file == current
        like = None
        if entry is None and not is_current:
            later = [other.file for other in files[place + 1 :]]
            if any(is_prefix_of(file, other) for other in [*found, *later]):
                continue
            like = original_of(file, missing)
        if is_current or entry is None or entry.content in under_way or not is_sent(file, entry):
            held.append(Held(path, file, is_current, entry, like))
    return held

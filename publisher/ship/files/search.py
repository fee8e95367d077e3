"""The search for a content whose file is gone, or holds other bytes by now."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from publisher.ship.files.content import CHUNK_BYTES, Content, hole_bytes
from publisher.ship.files.identity import FileIdentity, is_same
from publisher.ship.files.line_reader import LineReader
from publisher.ship.files.readable_file import Damaged, FileRefused, ReadableFile, open_file
from publisher.ship.files.state import ContentState, Place

_STEPS_NS = (1, 100, 1_000, 1_000_000_000)
"""What programs and archives keep of a time. A file that is written anew in the same second has
none of these times, but by chance."""


def ends_alike(file: ReadableFile, state: ContentState) -> bool:
    """Tell whether a file has the first bytes of a content, and those before its place.

    Raises:
        Damaged: the file is compressed and broken.
        OSError: the file cannot be read.
    """
    position, _, head, tail = state.place
    if file.read(0, len(head)) != head:
        return False
    return file.read(position - len(tail), len(tail)) == tail


def has_all(file: ReadableFile, state: ContentState, max_line_bytes: int) -> bool:
    """Tell whether a file has every byte of a content that was sent.

    Args:
        file: is read from its start to the place of the content.
        state: of the content.
        max_line_bytes: as its lines were cut.

    Raises:
        Damaged: the file is compressed and broken.
        OSError: the file cannot be read.
    """
    position, chain, head, _ = state.place
    if file.read(0, len(head)) != head:
        return False
    if not position:
        return bool(head)  # nothing is acknowledged: these are the bytes that were sent first
    lines = LineReader(hole_bytes(file), state.start, max_line_bytes)
    while (left := position - lines.position - len(lines.rest)) > 0:
        arrived = file.read(position - left, min(left, CHUNK_BYTES))
        if not arrived:
            return False
        lines.feed(arrived)
    lines.finish()
    return lines.chain == chain


def has_end(file: ReadableFile) -> bool:
    """Tell whether a compressed file has its end; it is read whole.

    Raises:
        Damaged: it is broken.
        OSError: it cannot be read.
    """
    position = 0
    while chunk := file.read(position, CHUNK_BYTES):
        position += len(chunk)
    return not file.ends_early


def is_at(path: Path, identity: FileIdentity) -> bool:
    """Tell whether the file with an identity is at a path."""
    try:
        file = open_file(path)
    except (FileRefused, OSError):
        return False
    with closing(file):
        return is_same(file.identity, identity)


def is_beginning_of(file: ReadableFile, other: ReadableFile) -> bool:
    """Tell whether all that a file has is what another begins with.

    Raises:
        OSError: one of them cannot be read.
    """
    position = 0
    while chunk := file.read(position, CHUNK_BYTES):
        if other.read(position, len(chunk)) != chunk:
            return False
        position += len(chunk)
    return position > 0


def is_moved(file: ReadableFile, state: ContentState) -> bool:
    """Tell whether a file has the size and the time of the last change of a content's file."""
    status = file.status()
    same_time = _is_kept(state.changed_ns, status.st_mtime_ns)
    return bool(state.changed_ns) and same_time and status.st_size == state.size


def original_of(
    file: ReadableFile,
    alike: Iterable[tuple[ContentState, Place]],
    reading: Mapping[int, Content],
    max_line_bytes: int,
) -> tuple[ContentState | None, bool]:
    """Return the content that a file holds which is new, if that is known, or may be a copy of.

    Args:
        file: the file.
        alike: contents that begin like it, and up to where each was read.
        reading: the contents that are read, by the `id` of their states. Of one whose file was
            deleted no copy is made.
        max_line_bytes: as lines were cut.

    Returns:
        The content, and whether its own file still has it, so that this one may be a copy.

    Raises:
        Damaged: the file is compressed and broken.
        OSError: the file cannot be read.
    """
    directory = os.path.dirname(file.path)  # noqa: PTH120 - a path of any bytes

    def has_its_name(found: tuple[ContentState, Place]) -> bool:
        content = reading.get(id(found[0]))
        return not is_moved(file, found[0]) if content is None else content.is_there

    # What lost its name was moved here rather than another was copied.
    for state, place in sorted(alike, key=has_its_name):
        read = replace(state, place=place)
        if id(state) in reading:
            other, is_there = reading[id(state)].file, reading[id(state)].is_there
            if file.is_compressed:
                # One that has more is an archive of another content, which begins alike.
                if _is_beginning_of(file, other):
                    return state, True
            elif (
                _is_near(directory, os.path.dirname(other.path))  # noqa: PTH120
                and (is_there or _is_moved_from(file, other))
                and _is_beginning_of(file, other)
            ):
                return state, True
            continue
        likely = file.is_compressed or is_moved(file, state) or _is_replaced(state)
        if likely and has_all(file, read, max_line_bytes):
            return state, False
    return None, False


def _is_near(directory: str, other: str) -> bool:
    """Tell whether a directory is another one, or directly below it."""
    return other in {directory, os.path.dirname(directory)}  # noqa: PTH120


def _is_kept(time_ns: int, copied_ns: int) -> bool:
    """Tell whether a time is what was kept of another, when its file was moved or restored."""
    return any(copied_ns == time_ns // step * step for step in _STEPS_NS)


def _is_moved_from(file: ReadableFile, other: ReadableFile) -> bool:
    with suppress(OSError):
        status, others = file.status(), other.status()
        same_time = _is_kept(others.st_mtime_ns, status.st_mtime_ns)
        return same_time and status.st_size == others.st_size
    return False


def _is_beginning_of(file: ReadableFile, other: ReadableFile) -> bool:
    try:
        return is_beginning_of(file, other)
    except FileNotFoundError:
        return False  # the other one is gone meanwhile, which the next look finds out


def _is_replaced(state: ContentState) -> bool:
    """Tell whether the file that held a content is where it was, and holds other bytes."""
    try:
        file = open_file(Path(state.path))
    except (FileRefused, OSError):
        return False
    with closing(file), suppress(OSError, Damaged):
        return is_same(file.identity, state.identity) and not ends_alike(file, state)
    return False


def found_elsewhere(
    state: ContentState,
    *,
    replaced: bool,
    besides: Collection[tuple[int, int]],
    is_anothers: Callable[[ReadableFile], bool],
    max_line_bytes: int,
) -> ReadableFile | None:
    """Find the file that holds a content by now: in its directory, and in those directly below.

    Args:
        state: of the content.
        replaced: whether its file is there and holds other bytes, so that it may have been copied.
        besides: device and inode of the files that are read, so that they hold others.
        is_anothers: tells whether a file is known to hold another content.
        max_line_bytes: as its lines were cut.

    Returns:
        The file, or None.
    """
    directory = os.path.dirname(state.path)  # noqa: PTH120 - a path of any bytes
    entries = [entry for entry in regular_files(directory) if (_key(entry)) not in besides]
    for entry in entries:
        if not replaced and entry.inode() == state.identity.inode:
            file = _opened(entry.path)
            if file is not None:
                if _holds(file, state, by_inode=True, max_line_bytes=max_line_bytes):
                    return file
                # Emptied, and renamed later: then a copy may have been made of it.
                replaced = is_same(file.identity, state.identity)
                file.close()

    def unlikely(entry: "os.DirEntry[str]") -> tuple[bool, int]:
        changed_ns = _changed_ns(entry)
        # What was copied and emptied may have grown since it was seen.
        return not replaced and not _is_kept(state.changed_ns, changed_ns), -changed_ns

    # Where several begin alike, one with the time of the last change is the likeliest, then the
    # newest: a backup that was made earlier has less.
    for entry in sorted(entries, key=unlikely):
        file = _opened(entry.path)
        if file is None:
            continue
        with suppress(OSError, Damaged):
            likely = replaced or file.is_compressed or is_moved(file, state)
            likely = likely and not is_anothers(file)
            if likely and _holds(file, state, by_inode=False, max_line_bytes=max_line_bytes):
                return file
        file.close()
    return None


def _holds(file: ReadableFile, state: ContentState, *, by_inode: bool, max_line_bytes: int) -> bool:
    with suppress(OSError, Damaged):
        if by_inode:
            return is_same(file.identity, state.identity) and ends_alike(file, state)
        return has_all(file, state, max_line_bytes)
    return False


def _changed_ns(entry: "os.DirEntry[str]") -> int:
    with suppress(OSError):
        return entry.stat(follow_symlinks=False).st_mtime_ns
    return 0


def _opened(path: str) -> ReadableFile | None:
    try:
        return open_file(Path(path))
    except (FileRefused, OSError):
        return None  # none of those that are shipped, or gone again


def _key(entry: "os.DirEntry[str]") -> tuple[int, int]:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def regular_files(directory: str) -> Iterator["os.DirEntry[str]"]:
    """Yield the regular files of a directory, and of those directly below."""
    below = []
    with suppress(OSError), os.scandir(directory or "/") as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry
            elif entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
    for path in below:
        with suppress(OSError), os.scandir(path) as entries:
            yield from [entry for entry in entries if entry.is_file(follow_symlinks=False)]

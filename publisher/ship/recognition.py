"""Which content a file holds: one that was sent in part, a copy of one, or a new one.

A content is known again by device and inode together with its bytes, or by its bytes alone: the
first HEAD_BYTES, and the last TAIL_BYTES of what was acknowledged.
"""

import os
import time
from collections.abc import Iterable, Sequence

from publisher.ship.checkpoint import Known
from publisher.ship.generation import identity_of
from publisher.ship.lineage import HEAD_BYTES

ROTATED_QUIET_S = 10.0
"""Whoever writes to a log may go on for a while after it was renamed."""

_COMPARED_BYTES = 1024 * 1024


def owners(
    files: Sequence[int], rotated: set[int], current: int | None, entries: Iterable[Known]
) -> dict[int, Known]:
    """Tell which content each open file holds, as far as that is known; each is held by one.

    files: of a log, the oldest content at the front. rotated: those that have the name of an
    earlier content. current: the one at the path of the log. entries: the contents that are known
    of it, the one that began first at the front.

    Many contents may begin alike, so that a file seems to hold several that were sent just that
    far. The content that was sent furthest is dealt with first. Its home is the file that held it
    when it was sent. But if an older rotated file begins like it too and is no copy, the home was
    copied there and cut short, and has a new content by now.

    Raises OSError when a file cannot be read.
    """
    furthest = sorted(entries, key=lambda entry: -entry.progress.position)
    heads = {file: os.pread(file, HEAD_BYTES, 0) for file in files}
    holders = {
        entry.content: [
            file
            for file in files
            if heads[file].startswith(entry.progress.head) and entry.progress.follows(file)
        ]
        for entry in furthest
    }
    homes = _homes(files, furthest, holders)
    found: dict[int, Known] = {}
    gone: list[Known] = []
    for entry in furthest:
        free = [
            file
            for file in holders[entry.content]
            if file not in found and homes.get(file, entry) is entry
        ]
        home = next((file for file in free if file in homes), None)
        # What holds no more than what was dealt with is a copy of that.
        free = [
            file
            for file in free
            if file == current
            or not (original_of(file, gone) or any(is_prefix_of(file, other) for other in found))
        ]
        if home is None:
            keeper = _longest(free)
        else:
            older = files[: files.index(home)] if entry.progress.position else ()
            rivals = [file for file in free if file in rotated and file in older]
            keeper = next((file for file in rivals if not is_prefix_of(file, home)), home)
            del homes[home]
        if keeper is None:
            gone.append(entry)
        else:
            found[keeper] = entry
    return found


def _homes(
    files: Sequence[int], furthest: Sequence[Known], holders: dict[str, list[int]]
) -> dict[int, Known]:
    identities = {file: identity_of(os.fstat(file)) for file in files}
    deleted = {file for file in files if os.fstat(file).st_nlink == 0}
    homes: dict[int, Known] = {}
    for entry in furthest:
        for file in holders[entry.content]:
            if identities[file] == entry.identity and file not in deleted:
                # Of contents that were sent equally far, the one that began last.
                first = homes.setdefault(file, entry)
                if first.progress.position == entry.progress.position:
                    homes[file] = entry
    return homes


def _longest(files: Sequence[int]) -> int | None:
    """Give the first file that is no copy of a later one."""
    for place, file in enumerate(files):
        if not any(is_prefix_of(file, later) for later in files[place + 1 :]):
            return file
    return None


def is_sent(file: int, entry: Known) -> bool:
    """Tell whether all that an open file holds was sent, and nothing more is to be expected."""
    status = os.fstat(file)
    quiet = time.time() - status.st_mtime > ROTATED_QUIET_S
    return quiet and entry.progress.position == status.st_size


def is_prefix_of(file: int, other: int) -> bool:
    """Tell whether an open file is the beginning of another, or all of it.

    Raises OSError when one cannot be read.
    """
    size = os.fstat(file).st_size
    if size > os.fstat(other).st_size:
        return False
    position = 0
    length = HEAD_BYTES
    while position < size:
        length = min(length, size - position)
        if os.pread(file, length, position) != os.pread(other, length, position):
            return False
        position += length
        length = _COMPARED_BYTES
    return True


def original_of(file: int, entries: Iterable[Known]) -> Known | None:
    """Give the content of which more was sent than an open file has, if it may be a copy of it.

    entries: contents that no file holds any more, the one that began first at the front.

    Raises OSError when the file cannot be read.
    """
    size = os.fstat(file).st_size
    head = os.pread(file, HEAD_BYTES, 0)
    alike = [
        entry
        for entry in entries
        if entry.progress.fingerprint
        and size < entry.progress.position
        and entry.progress.head.startswith(head)
    ]
    return alike[-1] if alike else None

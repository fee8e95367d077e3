"""The catalogue of contents: which file holds which, as files come, move, are emptied and go.

docs/use/ship.md has the rules, by number.
"""

import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from publisher.ship.files.content import Content, Slice, named_path
from publisher.ship.files.known import Beginnings, Known
from publisher.ship.files.open_contents import Key, OpenContents, statuses
from publisher.ship.files.plain_file import PlainFile
from publisher.ship.files.readable_file import (
    Damaged,
    FileRefused,
    ReadableFile,
    open_file,
    plain_path,
)
from publisher.ship.files.search import ends_alike, found_elsewhere, has_end, is_at, original_of
from publisher.ship.files.state import HEAD_BYTES, ContentState, Place
from publisher.ship.files.told import Told, not_sent
from publisher.ship.files.unseen import Unseen
from publisher.ship.files.waiting import QUIET_S, Waiting

_UNFINISHED_WAIT_S = 1.0


class Catalog:
    """Keeps the contents that are read, and finds out which file holds which.

    Args:
        states: what is known of contents.
        make: makes the content of a state and of the file that holds it.
        begin: makes the state of a new content in a file, of the log at a path; None: at its own.
        max_line_bytes: longer lines are cut.
        follows: whether files are looked at again, so that a copy can be waited for (7).
    """

    def __init__(
        self,
        states: Iterable[ContentState],
        make: Callable[[ContentState, ReadableFile], Content],
        begin: Callable[[ReadableFile, Path | None], ContentState],
        max_line_bytes: int,
        *,
        follows: bool,
    ) -> None:
        self._known = Known(states)
        self._make = make
        self._begin = begin
        self._max_line_bytes = max_line_bytes
        self._follows = follows
        self._contents = OpenContents()
        self._waiting = Waiting()
        self._unseen = Unseen()
        self._endless: dict[Key, tuple[int, int]] = {}
        """Compressed files without an end, with their size and the time of their last change."""
        self._beginnings: Beginnings | None = None
        self._is_first = True
        self.told = Told()
        self._left: list[Slice] = []
        self._changed: list[ContentState] = []

    def contents(self) -> list[Content]:
        """Return the contents that are read: what was renamed or deleted first, then by age."""
        return sorted(self._contents, key=lambda each: (each.is_there, each.changed_ns, each.path))

    def at(self, path: Path) -> Content | None:
        """Return the content that was last seen at a path."""
        return self._contents.at(path)

    def look(self, paths: Sequence[Path], now: float) -> None:
        """Find out what the files hold by now.

        Args:
            paths: real paths of the files that are shipped.
            now: by a steady clock in seconds.
        """
        self._beginnings = None
        refused: dict[str, str] = {}
        there = statuses([*self._unseen.paths(), *paths], refused)
        new: list[tuple[Path, os.stat_result]] = []
        for key, (path, status) in there.items():
            content = self._contents.get(key)
            if content is None:
                new.append((path, status))
            elif content.is_cut(path, status):
                self._replace(content)
                new.append((path, status))
        self._miss(there)
        if self._is_first:
            self._find_lost([path for path, _ in new], {each.st_ino: path for path, each in new})
            self._is_first = False
        if self._find_unseen([path for path, _ in new], there):
            unseen = statuses(self._unseen.paths(), refused)
            new = [*unseen.values(), *new]
            there |= unseen
        # A copy or an archive must not be taken for a content whose own file is there.
        new.sort(
            key=lambda each: (
                not self._known.has_inode(each[1].st_ino),
                plain_path(each[0]) != each[0],
            )
        )
        for path, status in new:
            try:
                self._meet(path, status, now)
            except FileNotFoundError:
                continue
            except (FileRefused, Damaged) as error:
                refused[os.fspath(path)] = not_sent(error)
            except OSError as error:
                refused[os.fspath(path)] = str(FileRefused.of(path, error))
        self._waiting.keep(there)
        self._unseen.keep([path for key, (path, _) in there.items() if self._waiting.has(key)])
        self._contents.take_in_paths()
        self.told.refused(refused)

    def _find_unseen(self, paths: Sequence[Path], there: Collection[Key]) -> bool:
        """Look for what logs have been since they were seen last, as they have new contents."""
        besides = {*there, *self._contents.files()}
        found = [
            self._unseen.find(path, self._known.last_at(os.fspath(path)), besides) for path in paths
        ]
        return any(found)

    def _miss(self, there: Collection[Key]) -> None:
        """Take in which files no name leads to any more."""
        for key in self._contents.files():
            content = self._contents.get(key)
            if content is not None and key not in there and content.is_there:
                content.is_there = False
                content.quiet_since = None
                if content.is_emptied():
                    self._replace_unnamed(content)

    def replace(self, content: Content, now: float) -> None:
        """Find out what became of a content whose file holds other bytes, or can't be found."""
        path = content.path
        self._beginnings = None
        if is_at(path, content.file.identity):
            self._replace(content)
        else:
            self._replace_unnamed(content)
        try:
            self._meet(path, path.stat(), now)
        except (OSError, FileRefused, Damaged):
            return  # the next look tells

    def left(self, now: float) -> list[Slice]:
        """Return the last records of contents of which nothing more comes, and end those."""
        slices, self._left = self._left, []
        for content in list(self._contents):
            is_quiet = content.quiet_since is not None and now - content.quiet_since >= QUIET_S
            if is_quiet and (not content.is_there or content.may_end):
                slices += content.finish(now, ended=True)
                content.may_end = False
                if not content.is_there:
                    self._contents.drop(content)
                    self._end(content)
            else:
                slices += content.expire(now)
        return slices

    def finish(self, content: Content, now: float) -> list[Slice]:
        """Return the last records of a content at its end for now, and read it no more."""
        self._contents.drop(content)
        # Nobody waits until it is quiet: if its writer may go on, the next run looks for it again.
        ended = not content.is_there and time.time() - content.changed_ns / 1e9 >= QUIET_S
        slices = content.finish(now, ended=ended)
        content.file.close()
        if ended:
            self._end(content)
        return slices

    def changed(self) -> list[ContentState]:
        """Return the states of contents that ended or moved, to be written down, once."""
        changed, self._changed = self._changed, []
        return changed

    def has_to_look(self, now: float) -> bool:
        """Tell whether a look finds out more although nothing has changed."""
        return any(due_in_s <= 0 for due_in_s in self._waiting.due_in_s(now))

    def gone(self) -> list[Content]:
        """Return the contents that are read although no name leads to them any more."""
        return [each for each in self._contents if not each.is_there]

    def wait_s(self, now: float, longest_s: float) -> float:
        """Return how long to wait at most for a sign of the files, in seconds.

        Args:
            now: by a steady clock in seconds.
            longest_s: the longest time.
        """
        wait_s = longest_s
        for content in self._contents:
            if content.is_unfinished or not content.is_there:
                wait_s = min(wait_s, _UNFINISHED_WAIT_S)
            if content.may_end and content.quiet_since is not None:
                wait_s = min(wait_s, content.quiet_since + QUIET_S - now)
        return max(min([wait_s, *self._waiting.due_in_s(now)]), 0.0)

    def close(self) -> None:
        """Close all files."""
        self._contents.close()

    def _meet(self, path: Path, status: os.stat_result, now: float) -> None:
        """Find out what a file holds that is not read yet."""
        key = status.st_dev, status.st_ino
        if (content := self._contents.get(key)) is not None:
            # It was looked for, and found under a name that is shipped.
            content.is_cut(path, status)
            return
        is_empty = stat.S_ISREG(status.st_mode) and not status.st_size
        if is_empty and not self._known.has_inode(status.st_ino):
            return  # a copy begins empty too
        if self._waiting.goes_on(key, status, now):
            return
        file = open_file(path)
        try:
            state = self._recognized(file, status, now)
        except BaseException:
            file.close()
            raise
        if state is None:
            file.close()
            return
        self._add(state, file)

    def _recognized(
        self, file: ReadableFile, status: os.stat_result, now: float
    ) -> ContentState | None:
        """Return the state of what a file holds, None if that is not to be read (yet)."""
        key = status.st_dev, status.st_ino
        if (state := self._held(file)) is not None:
            return state
        if not status.st_size or (file.is_compressed and not self._is_whole(file, status, now)):
            return None
        if self._beginnings is None:
            # Of all of them once a look, in which nothing is read.
            self._beginnings = self._known.beginnings(self._read_to)
        # A plain file is compared with what was met before this look: many may have one heading.
        alike = self._beginnings.alike(file.read(0, HEAD_BYTES), with_new=file.is_compressed)
        original, is_whole = original_of(file, alike, self._contents.by_state, self._max_line_bytes)
        if original is None and not file.is_compressed:
            self._find_emptied(alike, now)
            if key in self._contents:
                return None
        if original is None or (is_whole and not self._follows and not file.is_compressed):
            return self._known.add(self._begin(file, self._unseen.log_of(file.path)))
        if not is_whole:
            return original
        if file.is_compressed or self._waiting.begins(key, status, now):
            return None
        if not self._contents.by_state[id(original)].is_there:
            return None  # it was moved here, and is read where it was until it ends
        return self._known.add(self._begin(file, self._unseen.log_of(file.path)))

    def _held(self, file: ReadableFile) -> ContentState | None:
        """Return the content that a file held before, if it holds it still; else look for that."""
        for state in self._known.of_file(file.identity):
            if self._contents.of(state) is not None:
                continue
            if ends_alike(file, replace(state, place=state.last or state.place)):
                return state
            if not state.ended and state.last is None:
                self._find_copy(state)
        return None

    def _is_whole(self, file: ReadableFile, status: os.stat_result, now: float) -> bool:
        """Tell whether a compressed file has its end; one that never gets it is refused."""
        key = status.st_dev, status.st_ino
        seen = status.st_size, status.st_mtime_ns
        if self._endless.get(key) != seen:
            if has_end(file):
                return True
            if self._follows and self._waiting.begins(key, status, now):
                return False
            self._endless[key] = seen
        raise FileRefused(f"{os.fspath(file.path)!r} is not sent: its end is missing")

    def _read_to(self, state: ContentState) -> Place:
        """Return up to where a content was read, acknowledged or not."""
        content = self._contents.of(state)
        if content is None:
            return state.last or state.place
        place = content.as_read().place
        if not place.head:
            # A copy of it may be there before anything of it is read.
            with suppress(OSError, Damaged):
                place = place._replace(head=content.file.read(0, HEAD_BYTES))
        return place

    def _add(self, state: ContentState, file: ReadableFile) -> Content:
        self._move(state, file)
        state.ended, state.last = False, None
        state.path = state.path or os.fspath(named_path(file))
        content = self._make(state, file)
        self._contents.put(content)
        # Renamed while nothing was running, or compressed: then it is complete, or will be.
        content.is_closed = file.is_compressed or os.fspath(file.path) != state.path
        content.may_end = content.is_closed
        status = file.status()
        content.has_size(status.st_size)
        content.changed_ns = status.st_mtime_ns
        if self._beginnings is not None:
            self._beginnings.add(state, self._read_to(state))
        return content

    def _move(self, state: ContentState, file: ReadableFile) -> None:
        """Take in that another file holds a content by now."""
        if file.identity != state.identity:
            self._known.move(state, file.identity)
            self._changed.append(state)

    def _replace(self, content: Content) -> None:
        """Go on with a content in the copy that was made of it, or end it."""
        self._contents.drop(content)
        state = content.state
        file = self._elsewhere(content.as_read(), replaced=True)
        if file is not None:
            content.move_to(file)
            content.is_there = False
            self._move(state, file)
            self._contents.put(content)
            return
        self.told.emptied(content.path, content.read_bytes)
        self._left += content.finish(0.0, ended=True)
        self._end(content)

    def _replace_unnamed(self, content: Content) -> None:
        """Do so where no name leads to the file any more: what it holds by now would be lost."""
        path, held, rest = content.path, content.file, None
        if isinstance(held, PlainFile) and held.is_open:
            with suppress(OSError):
                rest = held.duplicate()
        self._replace(content)
        if rest is None:
            return
        status = rest.status()
        # It may have been found again, under a name that is not shipped.
        if status.st_size and (status.st_dev, status.st_ino) not in self._contents:
            self._add(self._known.add(self._begin(rest, path)), rest).is_there = False
        else:
            rest.close()

    def _find_emptied(self, contents: Iterable[tuple[ContentState, Place]], now: float) -> None:
        """Find the copies of contents whose files have grown again since they were emptied.

        Args:
            contents: contents, and up to where each was read.
            now: by a steady clock in seconds.
        """
        for state, place in contents:
            content = self._contents.of(state)
            if content is None or not content.is_there:
                continue
            with suppress(OSError, Damaged):
                if not ends_alike(content.file, replace(state, place=place)):
                    self.replace(content, now)

    def _find_copy(self, state: ContentState) -> None:
        """Look for the copy of a content whose file was emptied while nothing was running."""
        file = self._elsewhere(state, replaced=True)
        if file is not None:
            self._add(state, file).is_there = False
            return
        self.told.emptied(Path(state.path), state.place.position)
        state.ended = True
        self._changed.append(state)

    def _find_lost(self, paths: Sequence[Path], inodes: Mapping[int, Path]) -> None:
        """Look for the contents that were not sent to their end when the last command stopped."""
        named = {os.fspath(path) for path in paths}
        for state in self._known.under_way():
            inode = state.identity.inode
            if inode in inodes and is_at(inodes[inode], state.identity):
                continue
            if not (self._follows or state.path in named):
                continue
            file = self._elsewhere(state, replaced=False)
            if file is not None:
                self._add(state, file).is_there = False
                continue
            state.ended = True
            self._changed.append(state)
            self.told.lost(state.path, state.place.position)

    def _elsewhere(self, state: ContentState, *, replaced: bool) -> ReadableFile | None:
        def is_anothers(file: ReadableFile) -> bool:
            others = self._known.of_file(file.identity)
            return any(other.number != state.number and ends_alike(file, other) for other in others)

        return found_elsewhere(
            state,
            replaced=replaced,
            besides=self._contents.files(),
            is_anothers=is_anothers,
            max_line_bytes=self._max_line_bytes,
        )

    def _end(self, content: Content) -> None:
        state = content.state
        with suppress(OSError):
            # It may turn up in another file of the same size and time.
            status = content.file.status()
            state.size, state.changed_ns = status.st_size, status.st_mtime_ns
        content.file.close()
        # Until all of it is acknowledged, a command that comes after this one must look for it.
        state.last = content.as_read().place
        state.acknowledge(state.place)
        if state.ended:
            self._changed.append(state)

"""The catalogue of contents: which file holds which, as files come, move, are emptied and go.

docs/use/ship.md has the rules, by number.
"""

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from publisher.ship.files.content import Content, Slice, named_path
from publisher.ship.files.known import Known
from publisher.ship.files.readable_file import Damaged, FileRefused, ReadableFile, open_file
from publisher.ship.files.search import ends_alike, found_elsewhere, original_of
from publisher.ship.files.state import HEAD_BYTES, ContentState
from publisher.ship.files.waiting import QUIET_S, Waiting

Key = tuple[int, int]
"""Device and inode of a file."""


class Catalog:
    """Keeps the contents that are read, and finds out which file holds which.

    Args:
        states: what is known of contents.
        make: makes the content of a state and of the file that holds it.
        begin: makes the state of a new content in a file.
        max_line_bytes: longer lines are cut.
        follows: whether files are looked at again, so that a copy can be waited for (7).
    """

    def __init__(
        self,
        states: Iterable[ContentState],
        make: Callable[[ContentState, ReadableFile], Content],
        begin: Callable[[ReadableFile], ContentState],
        max_line_bytes: int,
        *,
        follows: bool,
    ) -> None:
        self._known = Known(states)
        self._make = make
        self._begin = begin
        self._max_line_bytes = max_line_bytes
        self._follows = follows
        self._contents: dict[Key, Content] = {}
        self._waiting = Waiting()
        self._is_first = True
        self._refused: dict[str, str] = {}
        self._sentences: list[str] = []
        self._left: list[Slice] = []
        self._ended: list[ContentState] = []

    def contents(self) -> list[Content]:
        """Return the contents that are read: what was renamed or deleted first, then by age."""
        return sorted(
            self._contents.values(), key=lambda each: (each.is_there, each.changed_ns, each.path)
        )

    def at(self, path: Path) -> Content | None:
        """Return the content that was last seen at a path."""
        return next((each for each in self._contents.values() if each.path == path), None)

    def look(self, paths: Sequence[Path], now: float) -> None:
        """Find out what the files hold by now.

        Args:
            paths: real paths of the files that are shipped.
            now: by a steady clock in seconds.
        """
        refused: dict[str, str] = {}
        there = _statuses(paths, refused)
        new: list[tuple[Path, os.stat_result]] = []
        for key, (path, status) in there.items():
            content = self._contents.get(key)
            if content is None:
                new.append((path, status))
            elif content.is_cut(path, status):
                self._replace(content)
                new.append((path, status))
        for key, content in self._contents.items():
            if key not in there and content.is_there:
                content.is_there = False
                content.quiet_since = None
        if self._is_first:
            self._find_lost([path for path, _ in new], {status.st_ino for _, status in new})
            self._is_first = False
        for path, status in new:
            try:
                self._meet(path, status, now)
            except FileNotFoundError:
                continue
            except (FileRefused, Damaged) as error:
                refused[os.fspath(path)] = str(error)
            except OSError as error:
                refused[os.fspath(path)] = str(FileRefused.of(path, error))
        self._waiting.keep(there)
        self._say_refused(refused)

    def replace(self, content: Content, now: float) -> None:
        """Find out what became of a content whose file holds other bytes, or can't be found."""
        path = content.path
        self._replace(content)
        try:
            self._meet(path, path.stat(), now)
        except (OSError, FileRefused, Damaged):
            return  # the next look tells

    def left(self, now: float) -> list[Slice]:
        """Return the last records of contents of which nothing more comes, and end those."""
        slices, self._left = self._left, []
        for key, content in list(self._contents.items()):
            is_quiet = content.quiet_since is not None and now - content.quiet_since >= QUIET_S
            if is_quiet and (not content.is_there or content.was_renamed):
                slices += content.finish(now, ended=True)
                content.was_renamed = False
                if not content.is_there:
                    del self._contents[key]
                    self._end(content)
            else:
                slices += content.expire(now)
        return slices

    def finish(self, content: Content, now: float) -> list[Slice]:
        """Return the last records of a content at its end for now, and read it no more."""
        del self._contents[self._key(content)]
        slices = content.finish(now, ended=not content.is_there)
        content.file.close()
        if not content.is_there:
            self._end(content)
        return slices

    def say_unreadable(self, content: Content, error: Exception) -> None:
        """Take in that a file could not be read."""
        told = dict(self._refused)
        told[os.fspath(content.path)] = str(FileRefused.of(content.path, error))
        self._say_refused(told)

    def sentences(self) -> list[str]:
        """Return what is to be told, once."""
        sentences, self._sentences = self._sentences, []
        return sentences

    def ended(self) -> list[ContentState]:
        """Return the states of contents that ended, to be written down, once."""
        ended, self._ended = self._ended, []
        return ended

    def has_to_look(self, now: float) -> bool:
        """Tell whether a look finds out more although nothing has changed."""
        return any(due_in_s <= 0 for due_in_s in self._waiting.due_in_s(now))

    def due_in_s(self, now: float) -> float | None:
        """Return when more is found out without a sign of the files, in seconds; None: never."""
        quiet = [
            each.quiet_since + QUIET_S - now
            for each in self._contents.values()
            if each.quiet_since is not None and (not each.is_there or each.was_renamed)
        ]
        return min([*quiet, *self._waiting.due_in_s(now)], default=None)

    def close(self) -> None:
        """Close all files."""
        for content in self._contents.values():
            content.file.close()

    def _meet(self, path: Path, status: os.stat_result, now: float) -> None:
        """Find out what a file holds that is not read yet."""
        key = status.st_dev, status.st_ino
        if key in self._contents:
            # It was looked for, and found under a name that is shipped.
            self._contents[key].is_cut(path, status)
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
        reading = {id(each.state): each for each in self._contents.values()}
        for state in self._known.of_file(file.identity):
            if id(state) in reading:
                continue
            if ends_alike(file, state):
                return state
            if not state.ended:
                self._find_copy(state)
        if not status.st_size:
            return None
        files = {number: each.file for number, each in reading.items()}
        alike = self._known.alike(file.read(0, HEAD_BYTES))
        original, is_whole = original_of(file, alike, files, self._max_line_bytes)
        if original is None or (is_whole and not self._follows and not file.is_compressed):
            return self._known.add(self._begin(file))
        if not is_whole:
            return original
        if file.is_compressed or self._waiting.begins(key, status, now):
            return None
        return self._known.add(self._begin(file))

    def _add(self, state: ContentState, file: ReadableFile) -> Content:
        self._known.move(state, file.identity)
        state.ended = False
        state.path = state.path or os.fspath(named_path(file))
        content = self._contents[self._key_of(file)] = self._make(state, file)
        return content

    def _replace(self, content: Content) -> None:
        """Go on with a content in the copy that was made of it, or end it."""
        del self._contents[self._key(content)]
        state = content.state
        file = self._elsewhere(content.as_read(), replaced=True)
        if file is not None:
            content.move_to(file)
            content.is_there = False
            self._known.move(state, file.identity)
            self._contents[self._key_of(file)] = content
            return
        self._say_emptied(content.path, content.read_bytes)
        self._left += content.finish(0.0, ended=True)
        self._end(content)

    def _find_copy(self, state: ContentState) -> None:
        """Look for the copy of a content whose file was emptied while nothing was running."""
        file = self._elsewhere(state, replaced=True)
        if file is not None:
            self._add(state, file).is_there = False
            return
        self._say_emptied(Path(state.path), state.place.position)
        state.ended = True
        self._ended.append(state)

    def _find_lost(self, paths: Sequence[Path], inodes: set[int]) -> None:
        """Look for the contents that were not sent to their end when the last command stopped."""
        named = {os.fspath(path) for path in paths}
        for state in self._known.under_way():
            if state.identity.inode in inodes or not (self._follows or state.path in named):
                continue
            file = self._elsewhere(state, replaced=False)
            if file is not None:
                self._add(state, file).is_there = False
                continue
            state.ended = True
            self._ended.append(state)
            self._sentences.append(
                f"the file that was {state.path!r} is not found: what was written to it behind "
                f"byte {state.place.position:,}, if anything, is not sent"
            )

    def _elsewhere(self, state: ContentState, *, replaced: bool) -> ReadableFile | None:
        return found_elsewhere(
            state, replaced=replaced, besides=self._contents, max_line_bytes=self._max_line_bytes
        )

    def _end(self, content: Content) -> None:
        content.file.close()
        content.state.ended = True
        self._ended.append(content.state)

    def _say_emptied(self, path: Path, position: int) -> None:
        self._sentences.append(
            f"{os.fspath(path)!r} was emptied or written anew, and no copy of what it had is "
            f"found: what stood behind byte {position:,} and was not read, if anything, is lost"
        )

    def _say_refused(self, refused: dict[str, str]) -> None:
        self._sentences += [
            sentence for path, sentence in refused.items() if self._refused.get(path) != sentence
        ]
        self._refused = refused

    def _key(self, content: Content) -> Key:
        return next(key for key, each in self._contents.items() if each is content)

    @staticmethod
    def _key_of(file: ReadableFile) -> Key:
        return file.identity.device, file.identity.inode


def _statuses(
    paths: Sequence[Path], refused: dict[str, str]
) -> dict[Key, tuple[Path, os.stat_result]]:
    """Return each file once, by its first path, with its status; put the others into `refused`."""
    found: dict[Key, tuple[Path, os.stat_result]] = {}
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - of thousands
        except FileNotFoundError:
            continue
        except OSError as error:
            refused[os.fspath(path)] = str(FileRefused.of(path, error))
            continue
        found.setdefault((status.st_dev, status.st_ino), (path, status))
    return found

"""Contents of files as they are read, from the names that a command gives."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from publisher.ship.files.catalog import Catalog
from publisher.ship.files.checkpoint import Checkpoint
from publisher.ship.files.content import Content, ContentReplaced, Slice, named_path
from publisher.ship.files.descriptors import OpenFiles, raise_soft_limit
from publisher.ship.files.line_reader import LineReader
from publisher.ship.files.names import Names
from publisher.ship.files.readable_file import Damaged, ReadableFile
from publisher.ship.files.state import ContentState, Naming, Place
from publisher.ship.records.record import ContentNames, Format
from publisher.ship.records.source import SourceTemplate

_LINE_END_BYTES = 2
_SPARE_DESCRIPTORS = 40
"""For the connection, the checkpoint, the event loop, and what the libraries open."""


class Reading:
    """Reads the contents of files, as names lead to them.

    Args:
        names: paths and patterns.
        line_format: makes records of lines.
        source: of the events.
        host: is part of the ids.
        by_source: ids are made of the source and the bytes alone.
        options: under which records may have been refused.
        checkpoint: tells where to go on.
        follows: whether files are looked at again.
    """

    def __init__(
        self,
        names: Sequence[Path],
        line_format: Format,
        source: SourceTemplate,
        host: str,
        *,
        by_source: bool,
        options: str,
        checkpoint: Checkpoint | None,
        follows: bool,
    ) -> None:
        self.names = Names(names)
        self._format = line_format
        self._source = source
        self._host = host
        self._host_of_ids = "" if by_source else host
        self._options = options
        self._checkpoint = checkpoint
        self._open = OpenFiles(max(raise_soft_limit() - _SPARE_DESCRIPTORS, 1))
        states = checkpoint.contents() if checkpoint is not None else []
        # Nothing is kept without it, so ids must come from the file alone, whatever else is sent.
        taken = {state.name for state in states} if checkpoint is not None else None
        self._naming = Naming(by_source=by_source, taken=taken)
        self._unmatched: set[str] = set()
        self.has_replaced = False
        """Whether files hold other contents than at the last look."""
        self.catalog = Catalog(
            states, self._make, self._begin, line_format.max_line_bytes, follows=follows
        )

    async def look(self, now: float) -> tuple[list[Path], list[str]]:
        """Find out which files there are and what they hold.

        Args:
            now: by a steady clock in seconds.

        Returns:
            The files, and sentences to tell.

        Raises:
            CheckpointRefused: what was found out can't be written down.
        """
        self.has_replaced = False
        return await asyncio.to_thread(self._look, now)

    def _look(self, now: float) -> tuple[list[Path], list[str]]:
        found = self.names.find()
        self.catalog.look(found.paths, now)
        sentences = [each for each in found.unmatched if each not in self._unmatched]
        self._unmatched = set(found.unmatched)
        return found.paths, sentences + self._said()

    async def read(self, content: Content, now: float) -> tuple[Slice | None, list[str]]:
        """Read the next records of a content.

        Returns:
            The records, None at its end for now, and sentences to tell.

        Raises:
            CheckpointRefused: what was found out can't be written down.
        """
        self._open.use(content.file)
        try:
            found = content.read(now)
        except (ContentReplaced, FileNotFoundError):
            self.has_replaced = True
            await asyncio.to_thread(self.catalog.replace, content, now)
            return None, await asyncio.to_thread(self._said)
        except (Damaged, OSError) as error:
            self.catalog.told.unreadable(content.path, error)
            return None, self.catalog.told.take()
        self.catalog.told.readable(content.path)
        return found, []

    async def keep(self) -> list[str]:
        """Write down what was found out last.

        Returns:
            Sentences to tell.

        Raises:
            CheckpointRefused: it can't be written down.
        """
        return await asyncio.to_thread(self._said)

    def _said(self) -> list[str]:
        if self._checkpoint is not None and (changed := self.catalog.changed()):
            self._checkpoint.save([state for state in changed if state.number])
        return self.catalog.told.take()

    def close(self) -> None:
        """Close all files."""
        self.catalog.close()
        self._open.close_all()

    def _begin(self, file: ReadableFile, log: Path | None) -> ContentState:
        path = log or named_path(file)
        source = self._source.of_content(self._host, str(path), path.name)
        return ContentState(str(path), source, self._host_of_ids, file.identity)

    def _make(self, state: ContentState, file: ReadableFile) -> Content:
        self._open.use(file)
        state.of_host(self._host)
        if state.refused and state.options != self._options:
            # Under other options they may be what they should be; the rest is known by its ids.
            state.place = Place(0, state.start)
            state.refused = 0
        names = ContentNames(self._host, state.path, Path(state.path).name)
        if state.place.position:
            with suppress(OSError, Damaged):
                names = names._replace(first_line=self._first_line(file))
        return Content(
            state, file, self._naming, self._format.reader(names), self._format.max_line_bytes
        )

    def _first_line(self, file: ReadableFile) -> bytes:
        # As it is when it is read first, without a byte order mark, and cut if it is too long.
        longest = self._format.max_line_bytes
        reader = LineReader(0, b"", longest)
        lines = reader.feed(file.read(0, longest + _LINE_END_BYTES)) or reader.finish()
        return lines[0].data if lines else b""

"""Contents of files as shipping reads them, step by step and by a clock of the test's own."""

from contextlib import suppress
from pathlib import Path

from publisher.ship.files.catalog import Catalog
from publisher.ship.files.content import Content, ContentReplaced, Slice, named_path
from publisher.ship.files.readable_file import ReadableFile
from publisher.ship.files.state import ContentState, Naming
from publisher.ship.records.lines import LinesFormat
from publisher.ship.records.record import ContentNames, Format

NAMES = ContentNames("web1", "/app.log", "app.log")


class Holding:
    """Reads what files hold, and takes everything for acknowledged that was read.

    Args:
        states: what a checkpoint knows; kept up to date.
        line_format: makes records.
        follows: whether files are looked at again.
    """

    def __init__(
        self,
        states: list[ContentState] | None = None,
        line_format: Format | None = None,
        *,
        follows: bool = True,
    ) -> None:
        self.states = [] if states is None else states
        self.format = line_format or LinesFormat()
        self.naming = Naming(by_source=False, taken={state.name for state in self.states})
        self.now = 1000.0
        self.lines: list[bytes] = []
        """All that was read, in order."""
        self.ids: set[tuple[str, int]] = set()
        self.said: list[str] = []
        self.catalog = Catalog(
            self.states, self._make, self._begin, self.format.max_line_bytes, follows=follows
        )

    def look(self, *paths: Path, after_s: float = 0.0) -> list[bytes]:
        """Look at files and read them; return what was new."""
        self.now += after_s
        known = len(self.lines)
        self.catalog.look(paths, self.now)
        for content in self.catalog.contents():
            self._read(content)
        for found in self.catalog.left(self.now):
            self._take(found)
        self.said += self.catalog.told.take()
        return self.lines[known:]

    def finish(self) -> list[bytes]:
        """Read everything to its end for now, as shipping once does; return what was new."""
        known = len(self.lines)
        for content in self.catalog.contents():
            for found in self.catalog.finish(content, self.now):
                self._take(found)
        return self.lines[known:]

    def restarted(self) -> "Holding":
        """Close all files, and begin anew with what is known."""
        self.catalog.close()
        return Holding(self.states, self.format)

    def _read(self, content: Content) -> None:
        try:
            while (found := content.read(self.now)) is not None:
                self._take(found)
        except (ContentReplaced, FileNotFoundError):
            self.catalog.replace(content, self.now)
            at = self.catalog.at(content.path)
            if at is not None and at is not content:
                self._read(at)

    def _take(self, found: Slice) -> None:
        state = found.content.state
        for record in found.records:
            self.lines += [line.data + line.eol for line in record.lines]
            assert (state.name, record.position) not in self.ids
            self.ids.add((state.name, record.position))
        if found.place is not None:
            state.acknowledge(found.place)
        with suppress(FileNotFoundError):
            status = found.content.path.stat()
            state.size, state.changed_ns = status.st_size, status.st_mtime_ns

    def _begin(self, file: ReadableFile, log: Path | None) -> ContentState:
        state = ContentState(str(log or named_path(file)), "source", "web1", file.identity)
        self.states.append(state)
        state.number = len(self.states)
        return state

    def _make(self, state: ContentState, file: ReadableFile) -> Content:
        reader = self.format.reader(NAMES)
        return Content(state, file, self.naming, reader, self.format.max_line_bytes)

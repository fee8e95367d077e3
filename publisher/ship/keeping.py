"""What shipping writes into its checkpoint, and when."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from publisher.ship.bookkeeping import Kept
from publisher.ship.files.checkpoint import Checkpoint
from publisher.ship.files.content import Content
from publisher.ship.files.state import ContentState, Place
from publisher.ship.outgoing import Origin


class KeepContents:
    """Keeps how far contents are acknowledged.

    Args:
        checkpoint: the checkpoint.
        options: under which records may be refused.
    """

    def __init__(self, checkpoint: Checkpoint, options: str) -> None:
        self._checkpoint = checkpoint
        self._options = options

    def begin(self, origins: Sequence[Origin]) -> None:
        """See `Keep`: their names are known before anything with them is sent."""
        new = [
            content
            for content in (cast("Content", origin) for origin in origins)
            if not content.state.number
        ]
        for content in new:
            # If nothing is acknowledged before a crash, it is known by its first bytes at least.
            content.state.place = content.state.place._replace(head=content.head)
            _take_in_size(content)
        if new:
            self._checkpoint.save([content.state for content in new])

    def acknowledged(self, kept: Sequence[Kept]) -> None:
        """See `Keep`."""
        states: list[ContentState] = []
        for origin, mark, refused in kept:
            content = cast("Content", origin)
            state = content.state
            if mark is not None:
                state.acknowledge(cast("Place", mark))
            if refused:
                state.refused += refused
                state.options = self._options
            _take_in_size(content)
            states.append(state)
        self._checkpoint.save(states)


def _take_in_size(content: Content) -> None:
    """Set size and time of the last change by which a content that is moved is known."""
    state = content.state
    with suppress(OSError):
        # Another thread may close its descriptor just now, and a new file may get that.
        status = content.file.status()
        if status.st_ino == state.identity.inode:
            state.size, state.changed_ns = status.st_size, status.st_mtime_ns


class JournalOrigin:
    """The origin of the entries of a journal, whose ids are their own.

    Args:
        journal: what it is called in the checkpoint.
        source: of the entries that tell none.
    """

    def __init__(self, journal: str, source: str) -> None:
        self.journal = journal
        self.name = ""
        self.source = source
        self.path = Path(journal)


class KeepCursor:
    """Keeps the cursor behind the entries of a journal that are acknowledged.

    Args:
        checkpoint: the checkpoint.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def begin(self, origins: Sequence[Origin]) -> None:
        """See `Keep`: there is nothing to write down."""

    def acknowledged(self, kept: Sequence[Kept]) -> None:
        """See `Keep`."""
        for origin, mark, _ in kept:
            if mark is not None:
                self._checkpoint.save_cursor(
                    cast("JournalOrigin", origin).journal, cast("str", mark)
                )

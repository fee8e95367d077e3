"""A log at its path: the content that is there now, and earlier ones still to be sent."""

import os
from contextlib import suppress
from pathlib import Path

from publisher.ship.arrangement import Held, arranged
from publisher.ship.checkpoint import Known
from publisher.ship.generation import ContentReplaced, Generation, Start, identity_of
from publisher.ship.lineage import Line, Progress, advance, first_start, start
from publisher.ship.lines import MAX_PIECE_BYTES, Piece
from publisher.ship.opening import changed_at, refusal
from publisher.ship.recognition import ROTATED_QUIET_S


class Log:
    """Reads a log from its first content to its last, each in order.

    path: of the log. source: of its lines. known: what a checkpoint knows of that source.
    taken: the fingerprints of that source, which all its logs share. max_piece_bytes: longer lines
    are cut.

    A content that is new has ids of its own, even if it begins like an earlier one. One that may
    be a copy has the ids of what it may be a copy of: what both have is stored once, and what
    differs is stored.
    """

    def __init__(
        self,
        path: Path,
        source: str,
        known: list[Known],
        taken: set[str],
        max_piece_bytes: int = MAX_PIECE_BYTES,
    ) -> None:
        self.path = path
        self.source = source
        self._known = {entry.content: entry for entry in known}
        self._max_piece_bytes = max_piece_bytes
        self._taken = taken
        self._lost: list[Generation] = []
        """Those of them that no file holds any more, as far as was seen."""
        self._sends_earlier = False
        self._directory_as_of = 0
        """When a file came or went beside the log, as far as was seen."""
        self._generations: list[Generation] = []
        self._current: Generation | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is open."""
        return not self._generations

    def begin(self, *, earlier: bool) -> bool:
        """Find what is at the path, and tell whether anything is.

        earlier: find the earlier contents too that are not sent to their end; they come first, the
        oldest at the front.

        Raises FileRefused.
        """
        self._sends_earlier = earlier
        return self._arrange()

    def look(self) -> bool:
        """See whether the path leads to another file than before; tell whether anything is there.

        Raises FileRefused when it is no regular file or cannot be opened.
        """
        try:
            identity = identity_of(self.path.stat())
            if self._current is not None and self._current.identity == identity:
                return self._arrange() if self._may_have_been_cut(self._current) else True
        except FileNotFoundError:
            self._rotate()
            return False
        except OSError as error:
            raise refusal(self.path, error) from error
        return self._arrange()

    def read(self, now: float) -> tuple[Generation, list[Line]] | None:
        """Give the next lines that are complete, and whose they are; None at the end, for now.

        now: by the clock that all calls share, in seconds.

        Raises FileRefused when a file cannot be read.
        """
        if self._current is not None and self._may_have_been_cut(self._current):
            self._arrange()
        for generation in list(self._generations):
            try:
                # What was read is all that there is of what no file holds any more.
                is_lost = generation in self._lost
                lines = self._let_go(generation) if is_lost else generation.read()
            except ContentReplaced:
                # What was not read may be in a copy.
                self._arrange()
                return self.read(now)
            except OSError as error:
                raise refusal(generation.path, error) from error
            if lines:
                generation.quiet_since = None
                return generation, lines
            if generation.quiet_since is None:
                generation.quiet_since = now
        return None

    def note(self, acknowledged: Known) -> None:
        """Take in how far a content was acknowledged, so as to know it if it comes back."""
        known = self._known.get(acknowledged.content)
        if known is None or known.progress.position < acknowledged.progress.position:
            self._known[acknowledged.content] = acknowledged

    def finished(self, now: float) -> list[tuple[Generation, list[Line]]]:
        """Give the last lines of rotated contents that have been quiet, and let go of them."""
        done = [
            generation
            for generation in self._generations
            if generation.is_rotated
            and generation.quiet_since is not None
            and now - generation.quiet_since >= ROTATED_QUIET_S
        ]
        return [(generation, self._let_go(generation)) for generation in done]

    def finish(self) -> list[tuple[Generation, list[Line]]]:
        """Give the lines under way although nothing has completed them, and let go of all."""
        return [(generation, self._let_go(generation)) for generation in list(self._generations)]

    def close(self) -> None:
        """Close all files."""
        for generation in self._generations:
            generation.close()

    def _may_have_been_cut(self, generation: Generation) -> bool:
        """Tell whether a file may have been cut short, and have grown again, without a sign.

        One of which only so much was read as all begin with, or nothing yet, shows none but its
        copy beside it.
        """
        try:
            return generation.is_young and self._directory_as_of != changed_at(self.path)
        except OSError:
            return False  # the directory is gone, which the next look finds out

    def _rotate(self) -> None:
        if self._current is not None:
            self._current.is_rotated = True
            self._current.quiet_since = None
            self._current = None

    def _arrange(self) -> bool:
        """Find out which file holds which content by now: several may have come and gone unseen.

        Tells whether anything is at the path.
        """
        with suppress(OSError):
            self._directory_as_of = changed_at(self.path)
        under_way = {generation.content: generation for generation in self._generations}
        current = None
        order: list[Generation] = []
        for held in arranged(self.path, self.source, self._generations, self._known):
            generation = under_way.get(held.known.content) if held.known else None
            if generation is not None:
                generation.move_to(held.path, held.file)
            elif held.is_current or self._sends_earlier:
                generation = self._begun(held)
            else:
                os.close(held.file)
                continue
            order.append(generation)
            if held.is_current:
                current = generation
        # What no file holds any more is let go of when it is read next, before all others.
        self._lost = [generation for generation in self._generations if generation not in order]
        self._generations = self._lost + order
        if current is not self._current:
            self._rotate()
            self._current = current
            if current is not None:
                current.is_rotated = False
        return current is not None

    def _begun(self, held: Held) -> Generation:
        begin = self._new if held.like is None else self._like(held.like)
        generation = Generation(held.path, held.file, held.known, begin, self._max_piece_bytes)
        generation.is_rotated = True
        return generation

    def _let_go(self, generation: Generation) -> list[Line]:
        lines = generation.finish()
        if generation.progress is not None:
            # It may be found again before all of it is acknowledged.
            self.note(
                Known(self.source, generation.content, generation.identity, generation.progress)
            )
        generation.close()
        self._generations.remove(generation)
        if generation is self._current:
            self._current = None
        return lines

    def _new(self, piece: Piece) -> Progress:
        return self._noted(first_start(self.source, piece, self._taken), piece)

    def _like(self, known: Known) -> Start:
        return lambda piece: self._noted(start(self.source, known.progress.salt), piece)

    def _noted(self, begun: Progress, piece: Piece) -> Progress:
        self._taken.add(advance(begun, piece).progress.fingerprint)
        return begun

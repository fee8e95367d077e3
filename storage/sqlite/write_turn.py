"""The turn to write: one thread has it, and takes along what another one waits to have done.

Commands of subscriptions come on a thread of their own. Going ahead one after the other, batches of
events and commands would each have a flush to disk of its own; and a lock is not fair, so that
commands might wait for many batches. So a batch that begins while commands wait does them too.
"""

import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

_MOMENT_S = 0.001
"""How long commands that came during a batch wait for the next one, which mostly comes at once, to
share its flush; less than a flush takes."""

Result = TypeVar("Result")


class Errand(Generic[Result]):
    """A piece of work within a transaction that one thread may do for another.

    Args:
        work: does it on the connection that writes, with a transaction under way; called again if
            that is rolled back.
    """

    def __init__(self, work: Callable[[sqlite3.Connection], Result]) -> None:
        self.work = work
        self.is_done = False
        """Whether it was committed, or has failed."""
        self._results: list[Result] = []
        self._error: BaseException | None = None

    def finish(self, result: Result) -> None:
        """Keep what it came to."""
        self._results.append(result)
        self.is_done = True

    def fail(self, error: BaseException) -> None:
        """Keep the error that it ended in."""
        self._error = error
        self.is_done = True

    def result(self) -> Result:
        """Return what it came to, or raise the error that it ended in; it is done."""
        if self._error is not None:
            raise self._error
        return self._results[0]


class WriteTurn:
    """A lock, held as a context manager, that whoever holds it may do an errand of another with."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_taken = False
        self._waiting: Errand[Any] | None = None
        self._one_errand = threading.Lock()

    def __enter__(self) -> None:
        with self._changed:
            while self._is_taken:
                self._changed.wait()
            self._take()

    def __exit__(self, *_raised: object) -> None:
        with self._changed:
            self._is_taken = False
            self._changed.notify_all()

    def run(self, errand: Errand[Result], alone: Callable[[Errand[Any]], None]) -> Result:
        """Have an errand done by whoever has the turn, or by this thread once nobody has it.

        Args:
            errand: what is to be done.
            alone: does it, in a transaction of its own; it is called with the turn, and finishes
                the errand.
        """
        with self._one_errand:
            if self._comes_first(errand):
                try:
                    alone(errand)
                finally:
                    self.__exit__()
        return errand.result()

    def take_errand(self) -> Errand[Any] | None:
        """Take over the errand that waits, if one does; called with the turn."""
        if self._waiting is None:
            return None
        with self._changed:
            errand, self._waiting = self._waiting, None
        return errand

    def finish(self, errand: Errand[Result], result: Result) -> None:
        """Tell who waits for an errand what it came to, once that is committed."""
        with self._changed:
            errand.finish(result)
            self._changed.notify_all()

    def fail(self, errand: Errand[Any], error: BaseException) -> None:
        """Tell who waits for an errand the error that it ended in."""
        with self._changed:
            errand.fail(error)
            self._changed.notify_all()

    def _take(self) -> None:
        self._is_taken = True
        if self._waiting is not None:
            self._changed.notify_all()

    def _comes_first(self, errand: Errand[Any]) -> bool:
        """Wait until an errand is done, or nobody else has the turn; then take that."""
        with self._changed:
            self._waiting = errand
            came_during_another = self._is_taken
            while not errand.is_done:
                if self._is_taken:
                    self._changed.wait()
                elif came_during_another:
                    came_during_another = False
                    # Whatever ends it, somebody may have taken the turn meanwhile.
                    self._changed.wait(_MOMENT_S)
                else:
                    self._waiting = None
                    self._take()
                    return True
        return False

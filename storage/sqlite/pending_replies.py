"""Replies that another process still owes, and the time that it has for them."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from storage.errors import StorageError

_LATE_S = 1.0
"""A timer so late shows that this process did not run, so the other may not have run either."""


class _Pending(NamedTuple):
    reply: asyncio.Future[Any]
    unknown: type[StorageError]


class PendingReplies:
    """The requests without a reply, oldest first, with a time limit for the oldest.

    The time of a request begins when it is sent, or when the one before it is done.

    Args:
        limit_s: how long each may take, in seconds.
        on_overdue: callback once one has taken longer.
    """

    def __init__(self, limit_s: float, on_overdue: Callable[[], object]) -> None:
        self._limit_s = limit_s
        self._on_overdue = on_overdue
        self._last_number = 0
        self._pending: dict[int, _Pending] = {}
        self._since = 0.0
        """When the oldest of them was the oldest, on the event loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    def add(
        self, unknown: type[StorageError], *, extra_s: float = 0.0
    ) -> tuple[int, asyncio.Future[Any]]:
        """Add a request that is about to be sent.

        Args:
            unknown: the error that it means if there never is a reply.
            extra_s: how much longer it may take than others, in seconds.

        Returns:
            Its number, and the future of its reply.
        """
        loop = asyncio.get_running_loop()
        if not self._pending:
            self._since = loop.time() + extra_s
            # One that is set already comes in time, and mostly for nothing: see `_look`.
            if self._timer is None or self._timer.when() > self._since + self._limit_s:
                self._look_again()
        self._last_number += 1
        reply: asyncio.Future[Any] = loop.create_future()
        self._pending[self._last_number] = _Pending(reply, unknown)
        return self._last_number, reply

    def resolve(self, number: int, reply: object) -> None:
        """Give a request its reply."""
        future, _ = self._remove(number)
        if not future.done():
            future.set_result(reply)

    def fail(self, number: int, error: StorageError | None, message: str) -> None:
        """Give a request the error that came in place of a reply.

        Args:
            number: the number of the request.
            error: the error; None if its own words are not for callers.
            message: the words in their place.
        """
        future, unknown = self._remove(number)
        if not future.done():
            future.set_exception(error or unknown(message))

    def fail_all(self, message: str) -> None:
        """Fail every request: there will be no reply."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lost, self._pending = self._pending, {}
        for future, unknown in lost.values():
            if not future.done():
                future.set_exception(unknown(message))

    def _remove(self, number: int) -> _Pending:
        if number == next(iter(self._pending), None):
            # The next one's time begins: what came before it is done.
            self._since = asyncio.get_running_loop().time()
        return self._pending.pop(number)

    def _look(self) -> None:
        """Look whether the oldest is overdue; look again when that may be so."""
        self._timer = None
        if not self._pending:
            return
        loop = asyncio.get_running_loop()
        late_s = loop.time() - (self._since + self._limit_s)
        if late_s > _LATE_S:
            self._since = loop.time()
        elif late_s >= 0:
            self._on_overdue()
            return
        self._look_again()

    def _look_again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self._since + self._limit_s
        self._timer = asyncio.get_running_loop().call_at(due, self._look)

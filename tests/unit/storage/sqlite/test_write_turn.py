"""The turn to write, and errands that are done in the turn of another."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from storage.sqlite.write_turn import Errand, WriteTurn

_LIMIT_S = 30.0


class SlowMoment(threading.Condition):
    """A condition whose waits with a time limit end at that, and late."""

    def __init__(self) -> None:
        super().__init__()
        self.has_waiter = threading.Event()
        self.is_over = threading.Event()
        self.let = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.has_waiter.set()
        if timeout is None:
            return super().wait()
        # What a wait does once its time is over: others may be quicker to take the lock again.
        self.release()
        self.is_over.set()
        assert self.let.wait(_LIMIT_S)
        self.acquire()
        return False


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def refuse(_errand: Errand[Any]) -> None:
    raise AssertionError("it is done beside somebody who has the turn")


def test_an_errand_waits_for_who_takes_the_turn_when_its_moment_is_over(
    threads: ThreadPoolExecutor,
) -> None:
    turn = WriteTurn()
    turn._changed = changed = SlowMoment()
    with turn:
        result = threads.submit(turn.run, Errand(lambda _: 7), refuse)
        assert changed.has_waiter.wait(_LIMIT_S)
    assert changed.is_over.wait(_LIMIT_S)
    with turn:
        errand = turn.take_errand()
        assert errand is not None
        changed.let.set()
        turn.finish(errand, 7)
    assert result.result(_LIMIT_S) == 7


def test_an_errand_that_nobody_takes_is_done_alone(threads: ThreadPoolExecutor) -> None:
    turn = WriteTurn()
    turn._changed = changed = SlowMoment()
    changed.let.set()
    with turn:
        result = threads.submit(turn.run, Errand(lambda _: 7), lambda each: turn.finish(each, 7))
        assert changed.has_waiter.wait(_LIMIT_S)
    assert result.result(_LIMIT_S) == 7
    with turn:
        assert turn.take_errand() is None


def test_an_errand_raises_the_error_that_it_ended_in_and_leaves_the_turn() -> None:
    turn = WriteTurn()
    with pytest.raises(sqlite3.OperationalError, match="no"):
        turn.run(Errand(lambda _: 1), lambda each: turn.fail(each, sqlite3.OperationalError("no")))
    assert turn.run(Errand(lambda _: 1), lambda each: turn.finish(each, 1)) == 1

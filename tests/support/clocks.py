"""Clocks that a test sets: the one that a store stamps events with, and one that stands still."""

import time
from types import SimpleNamespace

import pytest

from storage.postgres import locked_append as postgres_locked_append
from storage.sqlite import transaction as sqlite_transaction
from support.unprotected import lock_first

_LOCK_TOPICS = postgres_locked_append.LOCK_TOPICS
_POSTGRES_CLOCK = "clock_timestamp()"


class StandingClock:
    """A clock that stands still until it is moved."""

    now_s = 100.9

    def monotonic(self) -> float:
        """What it shows, in seconds."""
        return self.now_s

    perf_counter = monotonic


def shift_clock(patch: pytest.MonkeyPatch, seconds: int) -> None:
    """From now on both backends see a clock that is off by so many seconds."""
    patch.setattr(
        sqlite_transaction,
        "time",
        SimpleNamespace(time_ns=lambda: time.time_ns() + seconds * 10**9),
    )
    lock_first(patch)
    assert _POSTGRES_CLOCK in _LOCK_TOPICS
    patch.setattr(
        postgres_locked_append,
        "LOCK_TOPICS",
        _LOCK_TOPICS.replace(
            _POSTGRES_CLOCK, f"({_POSTGRES_CLOCK} + interval '{seconds} seconds')"
        ),
    )

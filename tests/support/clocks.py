"""Sets the clock that a store stamps events with."""

import time
from types import SimpleNamespace

import pytest

from storage import postgres_writer, sqlite_writer

_LOCK_TOPICS = postgres_writer.LOCK_TOPICS
_POSTGRES_CLOCK = "clock_timestamp()"


def shift_clock(patch: pytest.MonkeyPatch, seconds: int) -> None:
    """From now on both backends see a clock that is off by so many seconds."""
    patch.setattr(
        sqlite_writer, "time", SimpleNamespace(time_ns=lambda: time.time_ns() + seconds * 10**9)
    )
    assert _POSTGRES_CLOCK in _LOCK_TOPICS
    patch.setattr(
        postgres_writer,
        "LOCK_TOPICS",
        _LOCK_TOPICS.replace(
            _POSTGRES_CLOCK, f"({_POSTGRES_CLOCK} + interval '{seconds} seconds')"
        ),
    )

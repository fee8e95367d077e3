"""Generators of event ids that are unique within a topic and need no coordination.

An id that comes from the facts (a primary key, a place in a file) is better than any of these: made
again of the same facts it is the same id. docs/use/ids.md says which to choose and what each costs.
"""

import itertools
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from uuid_utils import uuid7 as _uuid7

EPOCH_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z in Unix milliseconds: where the time of a `TimeNodeId` begins."""

MAX_NODE = 1023
MAX_RUN_CHARACTERS = 200
_MAX_TIME_MS = EPOCH_MS + 2**41 - 1
_MAX_COUNTER = 4095
_TIME_NODE_ID = re.compile("[0-7][0-9a-f]{15}")
_NOT_IN_AN_ID = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def uuid7() -> str:
    """Return a new UUIDv7 (RFC 9562) as 36 characters.

    Ids of one process ascend as text in the order they were made, within a millisecond and across
    threads too. Those of two processes differ by the time and then by chance: two of the same
    millisecond are the same once in 10^22 times, in that of a fork once in 4 * 10^9.
    """
    return str(_uuid7())


def now_ms() -> int:
    """Return the current time in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class TimeNodeId(NamedTuple):
    """The parts of an id of `TimeNodeIds`; their order is that of the ids as text.

    Args:
        time_ms: Unix milliseconds, from EPOCH_MS to September 2093.
        node: the node number, 0 to MAX_NODE.
        counter: the place among the node's ids of that millisecond, 0 to 4095.
    """

    time_ms: int
    node: int
    counter: int

    @classmethod
    def parse(cls, text: str) -> "TimeNodeId":
        """Parse an id.

        Args:
            text: the id, 16 lower-case hex digits.

        Returns:
            Its parts.

        Raises:
            ValueError: the text is no such id.
        """
        if not _TIME_NODE_ID.fullmatch(text):
            raise ValueError(
                f"{text!r} is not an id of time, node and counter: 16 lower-case hex digits, "
                "the first of them at most 7"
            )
        number = int(text, 16)
        return cls(EPOCH_MS + (number >> 22), number >> 12 & MAX_NODE, number & _MAX_COUNTER)

    def __str__(self) -> str:
        """Return the id as it is published: 16 lower-case hex digits."""
        return f"{(self.time_ms - EPOCH_MS) << 22 | self.node << 12 | self.counter:016x}"


class TimeNodeIds:
    """Generates 64-bit ids of 41 bits of milliseconds, 10 of the node and 12 of a counter.

    The layout is that of Twitter's Snowflake. Every call returns a text greater than the one
    before, whatever the clock does: while it stands still or is behind, the counter goes on at the
    last time, and when the counter is full, that time goes on by a millisecond. No call waits.
    Threads may share one.

    **A node number belongs to one generator at a time.** Two with the same number make the same id
    as soon as both make one in the same millisecond, and the second event is dropped as a
    duplicate, or refused as a conflict. For the same reason a restart must not begin at a time that
    was used: give `after` if the clock may have been set back in between.

    Args:
        node: 0 to MAX_NODE; there is no default, since one drawn at random would be another's
            sooner than one thinks (with 38 generators more likely than not).
        after: the last id that an earlier generator of this node made; ids go on behind it.
        clock_ms: returns the current time in Unix milliseconds.

    Raises:
        ValueError: the node is out of range, or `after` is no id of this node.
    """

    def __init__(
        self, node: int, *, after: str | None = None, clock_ms: Callable[[], int] = now_ms
    ) -> None:
        if not 0 <= node <= MAX_NODE:
            raise ValueError(f"the node must be 0 to {MAX_NODE}, not {node}")
        self._node = node
        self._last = None if after is None else TimeNodeId.parse(after)
        if self._last and self._last.node != node:
            raise ValueError(f"{after!r} is an id of node {self._last.node}, not of {node}")
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def __call__(self) -> str:
        """Return the next id, 16 lower-case hex digits.

        Raises:
            ValueError: the clock is before 2024 at the first id, or its time no longer fits
                (September 2093).
            RuntimeError: called in a fork of the process that made the generator, where it would
                repeat the ids of the parent.
        """
        if os.getpid() != self._owner:
            raise RuntimeError(
                "this TimeNodeIds belongs to the parent of this process: make one behind the fork, "
                "with a node of its own"
            )
        with self._lock:
            made = self._last = self._following(self._clock_ms())
        return str(made)

    def _following(self, now: int) -> TimeNodeId:
        last = self._last
        if last is None and now < EPOCH_MS:
            # Counting on from 2024 would repeat the ids of every other start like this one.
            raise ValueError(f"the clock is before 2024 ({_moment(now)}): set it")
        if last is None or now > last.time_ms:
            time_ms, counter = now, 0
        elif last.counter < _MAX_COUNTER:
            time_ms, counter = last.time_ms, last.counter + 1
        else:
            time_ms, counter = last.time_ms + 1, 0
        if time_ms > _MAX_TIME_MS:
            raise ValueError(
                f"the time {_moment(time_ms)} is past {_moment(_MAX_TIME_MS)}, the last one that "
                "41 bits of milliseconds hold"
            )
        return TimeNodeId(time_ms, self._node, counter)


class NumberedIds:
    """Generates `<run>-e-1`, `<run>-e-2`, …, for people to read in a demonstration or a test.

    Threads may share one. The text order is not that of the numbers.

    Args:
        run: the prefix that sets the ids of this run apart, up to MAX_RUN_CHARACTERS characters, no
            control characters. The default is a fresh one: 8 hex digits of Unix seconds and 8 at
            random, so that two runs have the same with a probability of 1 in 4,294,967,296 if they
            start in the same second, and never otherwise. With "" the ids are the bare `e-1`, which
            every other such run makes too: its events are then dropped as duplicates or conflicts.

    Raises:
        ValueError: no event_id can begin with the run.
    """

    def __init__(self, run: str | None = None) -> None:
        if run is None:
            run = f"{int(time.time()):08x}{secrets.token_hex(4)}"
        if len(run) > MAX_RUN_CHARACTERS or _NOT_IN_AN_ID.search(run):
            raise ValueError(
                f"the run {run[:40]!r} is not 0 to {MAX_RUN_CHARACTERS} characters without control "
                "characters and surrogates"
            )
        self.run = run
        self._prefix = f"{run}-e-" if run else "e-"
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        """Return the next id."""
        return f"{self._prefix}{next(self._numbers)}"


def _moment(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        # Further away than a date can be.
        return f"{time_ms:,} ms"

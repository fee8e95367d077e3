"""Consumers of a peer in one process: what is left for them to take, and what came.

A consumer asks the tally how many events it may take, takes and settles them, and tells which they
were, until none are left. So none of them waits for events that another one has taken.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from benchmarks.client_result import report

AT_ONCE = 100
"""Events of a batch."""

_LIMIT_S = 600.0


class Tally:
    """What consumers have taken.

    Args:
        expected: the number of events in all.
    """

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._left = expected
        self._numbers: list[int] = []
        self.cycles_s: list[float] = []
        """The time from asking for each batch until it was settled, in seconds."""

    @property
    def left(self) -> int:
        """The number of events that no consumer has asked for."""
        return self._left

    def ask(self) -> int:
        """Return the number of events that the next batch of a consumer may have."""
        asked = min(AT_ONCE, self._left)
        self._left -= asked
        return asked

    def took(self, asked: int, numbers: Sequence[int], begun: float) -> None:
        """Take a batch that is settled.

        Args:
            asked: the number of events that it might have had.
            numbers: those of its events.
            begun: the time of `time.perf_counter` when it was asked for.
        """
        self._left += asked - len(numbers)
        self._numbers += numbers
        self.cycles_s.append(time.perf_counter() - begun)

    @property
    def is_complete(self) -> bool:
        """Whether as many events came as there are."""
        return len(self._numbers) >= self._expected

    def check(self) -> None:
        """Check that each event came once; raises `SystemExit`."""
        numbers = sorted(self._numbers)
        if numbers != list(range(numbers[0], numbers[0] + self._expected)):
            raise SystemExit(
                f"of {self._expected} events {len(set(numbers))} came, {len(numbers)} times in all"
            )


async def consume(
    tally: Tally,
    consumers: Sequence[Callable[[], Awaitable[None]]],
    settled: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run consumers to their end, check what came, and report the time that they took.

    Args:
        tally: of what they take.
        consumers: the consumers; each ends when nothing is left.
        settled: returns when everything is settled, if the consumers do not wait for that.
    """
    cpu_s, begun = time.process_time(), time.perf_counter()
    async with asyncio.timeout(_LIMIT_S):
        await asyncio.gather(*(each() for each in consumers))
        if settled is not None:
            await settled()
    seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu_s
    tally.check()
    report(seconds=seconds, cpu_s=cpu_s, cycles_s=tally.cycles_s, refused=0)

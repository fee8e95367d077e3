"""The waits between one connection and the next."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

_MAX_ASKED_S = 300.0
_MAX_DOUBLINGS = 30
_JITTER = 0.5


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """Sets when to reconnect, and when to give up, in seconds.

    The wait before reconnecting for the nth time in a row is `first_wait_s * 2**(n-1)`, at most
    `max_wait_s`, and up to half as long again, drawn at random, so that the readers of an
    aggregator do not all come back at the same moment. It is never shorter than the server asks for
    (`retry:` of the stream, `Retry-After`), up to five minutes.

    Args:
        first_wait_s: the first wait, from 0.
        max_wait_s: the greatest wait, from 0.
        silence_s: an answer of which no byte came for this time is taken for dead, above 0. An
            aggregator sends a heartbeat every 15 s by default.
        give_up_after_s: time without a stream, from its loss on, after which `FollowGaveUp` is
            raised, above 0, possibly `math.inf`.

    Raises:
        ValueError: a value is out of its range; one sentence.
    """

    first_wait_s: float = 1.0
    max_wait_s: float = 10.0
    silence_s: float = 45.0
    give_up_after_s: float = math.inf

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("first_wait_s", "max_wait_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be finite and 0 or more, not {getattr(self, name)!r}"
                )
        if not 0 < self.silence_s < math.inf:
            raise ValueError(f"silence_s must be finite and above 0, not {self.silence_s!r}")
        if not self.give_up_after_s > 0:
            raise ValueError(f"give_up_after_s must be above 0, not {self.give_up_after_s!r}")

    def wait_s(self, attempt: int, asked_s: float) -> float:
        """Return the wait before reconnecting, in seconds.

        Args:
            attempt: the number of attempts in a row that gave no stream, or the stream that ended,
                from 1.
            asked_s: the least wait that the server asks for, in seconds.
        """
        least = max(self.first_wait_s, min(asked_s, _MAX_ASKED_S))
        grown = self.first_wait_s * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS)
        wait = max(least, min(grown, self.max_wait_s))
        return wait * (1 + _JITTER * random.random())  # noqa: S311 - anybody may know it


class Wait(NamedTuple):
    """A wait before the next attempt to have a stream.

    Args:
        attempt: the number of the attempt that failed, or of the stream that ended, from 1; it
            begins anew with each stream.
        reason: why there is no stream, one sentence.
        wait_s: seconds until the next attempt.
    """

    attempt: int
    reason: str
    wait_s: float


OnWait = Callable[[Wait], None]

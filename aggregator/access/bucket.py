"""A token bucket: how much of something may be taken in a span of time."""


class Bucket:
    """A token bucket, which is full at first and exact at every time.

    It holds as much as flows into it in its window. An amount that is larger is taken when it is
    full, and leaves it in debt: it would be refused for ever otherwise, and afterwards no more has
    been taken than the quota allows.

    Args:
        quota: what it holds, at least 1.
        window_s: seconds in which it fills.
        now_ns: the time, in nanoseconds of a clock that never goes back.
    """

    __slots__ = ("_at_ns", "_missing", "_window_ns", "quota")

    def __init__(self, quota: int, window_s: int, now_ns: int) -> None:
        self.quota = quota
        self._window_ns = window_s * 1_000_000_000
        # In parts so small that a whole number of them flows in in a nanosecond.
        self._missing = 0
        self._at_ns = now_ns

    def set_quota(self, quota: int, now_ns: int) -> None:
        """Have it hold another amount; the time until it is full stays the same."""
        self._refill(now_ns)
        self._missing = self._missing * quota // self.quota
        self.quota = quota

    def is_full(self, now_ns: int) -> bool:
        """Return whether it is as good as a new one."""
        self._refill(now_ns)
        return not self._missing

    def left(self, now_ns: int) -> int:
        """Return how much is in it, rounded down; 0 in debt."""
        self._refill(now_ns)
        return max(0, self.quota - -(-self._missing // self._window_ns))

    def wait_ns(self, amount: int, now_ns: int) -> int:
        """Return after how many nanoseconds an amount may be taken; 0: now."""
        if not amount:
            return 0
        self._refill(now_ns)
        room = (self.quota - min(amount, self.quota)) * self._window_ns
        return max(0, -((room - self._missing) // self.quota))

    def take(self, amount: int) -> None:
        """Take an amount that may be taken now, by a look at `wait_ns` at this time."""
        self._missing += amount * self._window_ns

    def _refill(self, now_ns: int) -> None:
        self._missing = max(0, self._missing - (now_ns - self._at_ns) * self.quota)
        self._at_ns = now_ns

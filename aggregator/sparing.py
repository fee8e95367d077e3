"""Log lines that may come in thousands, limited in rate and counted where they are left out."""

import time


class Sparing:
    """Whether one more line of a kind may be written, at most `per_second` a second."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = 0
        self._written = 0
        self._left_out = 0

    def fields(self) -> dict[str, int] | None:
        """None if the line is to be left out; else what it says of those left out before it."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= self._per_second:
            self._left_out += 1
            return None
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        return {"left_out_before": left_out} if left_out else {}

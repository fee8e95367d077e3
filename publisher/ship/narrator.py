"""What the command tells people while it ships."""

import asyncio
import sys
from typing import NoReturn

from tqdm import tqdm

from publisher.output import tell
from publisher.retry import Retry
from publisher.ship.target import Report
from publisher.ship.totals import Totals

_TOLD_LINES = 10
_TELL_COUNTS_S = 60.0


class Narrator:
    """Tells people on stderr, over a progress bar if that is a terminal.

    Args:
        program: the name of the command.
        totals: are counted up by who ships.
    """

    def __init__(self, program: str, totals: Totals) -> None:
        self._program = program
        self.totals = totals
        self._told = 0
        self._told_counts = ""
        self._bar: tqdm[NoReturn] = tqdm(
            total=None,
            unit="B",
            unit_scale=True,
            file=sys.stderr,
            disable=not (sys.stderr and sys.stderr.isatty()),
        )

    def report(self) -> Report:
        """Return whom shipping tells."""
        return Report(
            self.totals,
            self.tell,
            self._tell_of_line,
            self._expect,
            None if self._bar.disable else self._advance,
            self._retry,
        )

    def tell(self, sentence: str) -> None:
        """Print a sentence."""
        line = f"{self._program}: {sentence}"
        if self._bar.disable:
            tell(f"{line}\n")
        else:
            self._bar.write(line, file=sys.stderr)

    async def tell_counts(self) -> None:
        """Tell once a minute how many records are not as they should be, if it is news."""
        while True:
            await asyncio.sleep(_TELL_COUNTS_S)
            self._tell_counts()

    def close(self) -> None:
        """Tell the counts a last time, and end the progress bar."""
        self._bar.close()
        self._tell_counts()

    def _tell_counts(self) -> None:
        counts = self.totals.odd_counts()
        if counts != self._told_counts and (self._told > _TOLD_LINES or self.totals.times_unread):
            self._told_counts = counts
            self.tell(counts)

    def _tell_of_line(self, sentence: str) -> None:
        self._told += 1
        if self._told <= _TOLD_LINES:
            self.tell(sentence)
        elif self._told == _TOLD_LINES + 1:
            self.tell("more of that kind are counted, and told once a minute")

    def _expect(self, total_bytes: int) -> None:
        self._bar.reset(total_bytes)

    def _advance(self, acknowledged_bytes: int) -> None:
        self._bar.update(acknowledged_bytes)

    def _retry(self, retry: Retry) -> None:
        self.totals.retries += 1
        if retry.attempt == 1:
            # By its id the aggregator's log has it, unless it never got there.
            named = f" (request id {retry.request_id})" if retry.may_be_stored else ""
            self.tell(f"{retry.reason}{named}; trying again")

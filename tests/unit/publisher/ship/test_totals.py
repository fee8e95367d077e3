"""The closing line counts what was acknowledged."""

from typing import Literal

import pytest

from publisher.response import Verdict
from publisher.ship.totals import Totals


@pytest.mark.parametrize(
    ("totals", "line"),
    [
        (Totals(), "sent 0 lines: stored 0, duplicates 0, conflicts 0, retries 0"),
        (Totals(1, 1), "sent 1 line: stored 1, duplicates 0, conflicts 0, retries 0"),
        (
            Totals(2000, 1000, 999, 1, retries=3),
            "sent 2,000 lines: stored 1,000, duplicates 999, conflicts 1, retries 3",
        ),
        (
            Totals(1, 39),
            "sent 1 line as 39 events: stored 39, duplicates 0, conflicts 0, retries 0",
        ),
        (
            Totals(4, 3, rejected=1),
            "sent 4 lines: stored 3, duplicates 0, conflicts 0, rejected 1, retries 0",
        ),
        (
            Totals(4, 4, as_text=2),
            "sent 4 lines: stored 4, duplicates 0, conflicts 0, as text 2, retries 0",
        ),
        (Totals(2, 1), "sent 2 lines as 1 event: stored 1, duplicates 0, conflicts 0, retries 0"),
    ],
)
def test_the_closing_line(totals: Totals, line: str) -> None:
    assert str(totals) == line


def test_each_verdict_counts_once() -> None:
    statuses: list[Literal["stored", "duplicate", "conflict"]] = ["stored", "duplicate", "conflict"]
    totals = Totals()
    for count, status in enumerate(statuses, start=1):
        for _ in range(count):
            totals.take(Verdict("logs", "id", status, 1))
    assert (totals.stored, totals.duplicates, totals.conflicts) == (1, 2, 3)
    assert totals.events == 6


@pytest.mark.parametrize(
    ("totals", "told"),
    [
        (Totals(5, 5), ""),
        (Totals(9, 1, conflicts=1, duplicates=7), "of the records so far 1 is in conflict"),
        (Totals(1, 1, times_unread=1), "of the records so far 1 has a time that could not be read"),
        (
            Totals(as_text=2000, rejected=1, conflicts=3, times_unread=4),
            (
                "of the records so far 2,000 were stored as text, 1 was not stored, "
                "3 are in conflict, 4 have times that could not be read"
            ),
        ),
    ],
)
def test_counts_of_what_is_not_as_it_should_be(totals: Totals, told: str) -> None:
    assert totals.odd_counts() == told

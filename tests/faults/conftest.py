"""What the crash campaigns share: their seed, and the table they end with."""

import os
from collections.abc import Callable, Iterator

import pytest
from support import consumer_campaign_tally
from support.campaign_tally import NewTally, Tally, table

_PROPERTY = "crash campaign"
_TABLES = {_PROPERTY: table, consumer_campaign_tally.PROPERTY: consumer_campaign_tally.table}


@pytest.fixture
def campaign_seed(testrun_uid: str) -> str:
    """The seed of a long campaign: CRASH_CAMPAIGN_SEED, or another one in each run."""
    return os.environ.get("CRASH_CAMPAIGN_SEED") or testrun_uid[:8]


@pytest.fixture
def new_tally(record_property: Callable[[str, object], None]) -> Iterator[NewTally]:
    """Makes a tally that is shown in the closing table, however the campaign ends."""
    tallies: list[Tally] = []

    def new(backend: str, aggregators: int, seed: str) -> Tally:
        tallies.append(Tally(backend, aggregators, seed))
        return tallies[-1]

    yield new
    for tally in tallies:
        record_property(_PROPERTY, tally.figures())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the closing tables; with several workers each test's figures come in its report."""
    properties = [
        each
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for each in report.user_properties
    ]
    for title, of_figures in _TABLES.items():
        figures = [value for name, value in properties if name == title]
        if figures:
            terminalreporter.section(title)
            for line in of_figures(figures):
                terminalreporter.write_line(line)

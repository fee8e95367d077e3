"""Readers of streams get every event once and in order, however they are cut off and go on."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test
from support.backends import Database
from support.neighbours import Neighbours
from support.stream_machine import StreamMachine
from support.stream_model import CheckedReader
from support.weakened_streams import ReaderThatGoesByTime, trust_the_flush


@contextmanager
def run_on(database: Database, reader: type[CheckedReader] = CheckedReader) -> Iterator[Any]:
    """What runs the machine, with aggregators that are there for all of its runs."""
    neighbours = Neighbours(database)
    StreamMachine.faults.clear()
    with asyncio.Runner() as runner:
        runner.run(neighbours.start())
        try:
            yield lambda: StreamMachine(neighbours, runner, reader)
        finally:
            runner.run(neighbours.aclose())


@pytest.mark.timeout(3600)
def test_readers_get_every_event_once_and_in_order_however_they_are_cut_off(
    database: Database,
) -> None:
    # How requests fall together differs each time, so there is no search for a smaller example.
    drawn = settings(phases=[Phase.generate])
    with run_on(database) as machine:
        run_state_machine_as_test(machine, settings=drawn)


def find_a_fault(database: Database, reader: type[CheckedReader] = CheckedReader) -> None:
    """Run the machine until it finds that events are missed, doubled or out of order."""
    found = settings(max_examples=100, phases=[Phase.generate], report_multiple_bugs=False)
    # How requests fall together differs each time, and what is found with it; hence the other one.
    with run_on(database, reader) as machine, pytest.raises((AssertionError, Flaky)):
        run_state_machine_as_test(machine, settings=found)
    assert isinstance(StreamMachine.faults[0], AssertionError)


def test_a_reader_that_goes_by_time_is_found_out(database: Database) -> None:
    find_a_fault(database, ReaderThatGoesByTime)


def test_a_stream_that_trusts_the_flush_is_found_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust_the_flush(monkeypatch)
    find_a_fault(database)

"""What is wrong with records is told ten times, then counted once a minute."""

import asyncio

import pytest
from support.library_time import VirtualLoop

from publisher.retry import Retry
from publisher.ship.narrator import Narrator
from publisher.ship.totals import Totals


class Told:
    """Sentences of a narrator, with the time at which each was told."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.totals = Totals()
        self.narrator = Narrator("ship", self.totals)
        self._capsys = capsys

    def new(self) -> list[str]:
        """What was told since the last call."""
        lines = self._capsys.readouterr().err.splitlines()
        return [line.removeprefix("ship: ") for line in lines]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    return Told(capsys)


def test_ten_records_are_told_and_then_that_more_are_counted(told: Told) -> None:
    tell = told.narrator.report().tell_of_line
    for number in range(10):
        tell(f"record {number}")
    assert told.new() == [f"record {number}" for number in range(10)]
    for number in range(10, 30):
        tell(f"record {number}")
    assert told.new() == ["more of that kind are counted, and told once a minute"]


def test_files_are_told_of_however_many_records_are(told: Told) -> None:
    for number in range(20):
        told.narrator.report().tell_of_line(f"record {number}")
    told.new()
    told.narrator.report().tell_of_file("a file")
    assert told.new() == ["a file"]


def test_counts_are_told_once_a_minute_if_they_are_news(told: Told) -> None:
    by_minute: list[list[str]] = []

    async def run() -> None:
        telling = asyncio.create_task(told.narrator.tell_counts())
        begun = asyncio.get_running_loop().time()
        for minute in range(5):
            # In the midst of each minute.
            await asyncio.sleep(begun + minute * 60 + 30 - asyncio.get_running_loop().time())
            by_minute.append(told.new())
            if minute == 0:
                told.totals.as_text = 1
                for number in range(11):
                    told.narrator.report().tell_of_line(f"record {number}")
                told.new()
            if minute == 2:
                told.totals.as_text = 7
        telling.cancel()

    loop = VirtualLoop()
    loop.run_until_complete(run())
    loop.end()
    assert by_minute == [
        [],
        ["of the records so far 1 was stored as text"],
        [],
        ["of the records so far 7 were stored as text"],
        [],
    ]
    told.totals.conflicts = 2
    told.narrator.close()
    assert told.new() == ["of the records so far 7 were stored as text, 2 are in conflict"]


def test_counts_are_not_told_while_each_record_is(told: Told) -> None:
    told.narrator.report().tell_of_line("record")
    told.totals.rejected = 1
    told.narrator.close()
    assert told.new() == ["record"]


def test_times_that_cannot_be_read_are_told_in_counts_alone(told: Told) -> None:
    told.totals.times_unread = 3
    told.narrator.close()
    assert told.new() == ["of the records so far 3 have times that could not be read"]


def test_a_request_that_is_tried_again_is_told_of_once(told: Told) -> None:
    retry = told.narrator.report().on_retry
    retry(Retry(1, 5, "it is busy", True, 0.1, "r-1"))
    retry(Retry(2, 5, "it is busy", True, 0.1, "r-1"))
    retry(Retry(1, 5, "nobody is there", False, 0.1, "r-2"))
    assert told.new() == [
        "it is busy (request id r-1); trying again",
        "nobody is there; trying again",
    ]
    assert told.totals.retries == 3

"""Numbers with the prefix of a run, and what an aggregator says to ids of every kind."""

import re
import time
from collections.abc import Callable

import pytest
from support.http import Client
from support.talking import publish, statuses
from support.threads import THREADS, in_threads

from publisher.ids import MAX_NODE, MAX_RUN_CHARACTERS, NumberedIds, TimeNodeIds, uuid7


def test_numbers_count_from_one_behind_the_run() -> None:
    new_id = NumberedIds("monday")
    assert [new_id() for _ in range(3)] == ["monday-e-1", "monday-e-2", "monday-e-3"]


def test_an_empty_run_gives_the_bare_numbers() -> None:
    new_id = NumberedIds("")
    assert [new_id() for _ in range(2)] == ["e-1", "e-2"]


def test_runs_that_begin_in_the_same_second_differ() -> None:
    begun = int(time.time())
    runs = [NumberedIds() for _ in range(50)]
    ended = int(time.time())
    assert len({new_id.run for new_id in runs}) == 50
    for new_id in runs:
        assert re.fullmatch("[0-9a-f]{16}", new_id.run)
        assert begun <= int(new_id.run[:8], 16) <= ended
        assert new_id() == f"{new_id.run}-e-1"


def test_threads_that_share_numbers_leave_none_out_and_take_none_twice() -> None:
    new_id = NumberedIds("")
    made: list[str] = []
    in_threads(lambda: made.extend([new_id() for _ in range(10_000)]))
    assert sorted(made) == sorted(f"e-{number}" for number in range(1, THREADS * 10_000 + 1))


@pytest.mark.parametrize("run", ["a\n", "\x7f", "\ud800", "x" * (MAX_RUN_CHARACTERS + 1)])
def test_a_run_that_no_event_id_can_begin_with_is_refused(run: str) -> None:
    with pytest.raises(ValueError, match="is not 0 to 200 characters without control characters"):
        NumberedIds(run)


async def test_an_aggregator_takes_ids_of_every_kind(client: Client) -> None:
    makers: list[Callable[[], str]] = [
        uuid7,
        TimeNodeIds(0),
        TimeNodeIds(MAX_NODE),
        NumberedIds(),
        NumberedIds(""),
        NumberedIds("é 😀" * (MAX_RUN_CHARACTERS // 3)),
    ]
    events = [
        {
            "topic": "ids",
            "event_id": new_id(),
            "timestamp": "2026-01-31T12:00:00Z",
            "source": "test",
            "payload": {},
        }
        for new_id in makers
        for _ in range(2)
    ]
    answer = await publish(client, events)
    assert statuses(answer) == ["stored"] * len(events)

"""What the judge of a crash campaign lets pass, and what it does not."""

from collections import Counter
from typing import Any

import pytest
from support.campaign_record import Attempt, Broken, Record, key_of
from support.campaign_tally import Tally, table
from support.events import published
from support.load import Batch

TOPIC = "orders"


def events_of(*event_ids: str) -> Batch:
    return [published(topic=TOPIC, event_id=event_id) for event_id in event_ids]


def log_of(*event_ids: str, first: int = 1) -> Batch:
    """What GET /events would give for these."""
    return [
        {**event, "offset": offset} for offset, event in enumerate(events_of(*event_ids), first)
    ]


def answer_of(*statuses: tuple[str, str, int]) -> dict[str, Any]:
    """What POST /publish would answer: (event id, status, offset)."""
    found = Counter(status for _, status, _ in statuses)
    return {
        "received": len(statuses),
        "unique_processed": found["stored"],
        "duplicate_dropped": len(statuses) - found["stored"],
        "conflicts": found["conflict"],
        "results": [
            {"topic": TOPIC, "event_id": event_id, "status": status, "offset": offset}
            for event_id, status, offset in statuses
        ],
    }


def stats_of(received: int, unique: int, conflicts: int = 0) -> dict[str, Any]:
    """What GET /stats would answer."""
    counts = {
        "received": received,
        "unique_processed": unique,
        "duplicate_dropped": received - unique,
        "conflicts": conflicts,
    }
    return {**counts, "topics": {TOPIC: counts}}


def sent(record: Record, *event_ids: str) -> Attempt:
    """A request goes out; all of its events are new."""
    batch = events_of(*event_ids)
    attempt = Attempt(batch, frozenset(map(key_of, batch)), to=1)
    record.sent(attempt)
    return attempt


@pytest.fixture
def record() -> Record:
    return Record(Tally("sqlite", 1, "0"))


async def test_what_fits_is_not_found_fault_with(record: Record) -> None:
    first, second, third = sent(record, "a", "b"), sent(record, "c", "d"), sent(record, "e")
    record.acknowledged(first, answer_of(("a", "stored", 1), ("b", "stored", 2)))
    record.take(TOPIC, log_of("a", "b", "c", "d"))
    record.check(record.to_check())
    record.judge([second, third])
    record.agree((TOPIC, "d"), 4)
    record.agree((TOPIC, "e"), None)
    record.compare(TOPIC, 2, log_of("c", "d", first=3))
    record.check_stats(record.settled(), stats_of(4, 4), quiet=True)
    assert [await attempt.whole for attempt in (second, third)] == [True, False]
    again = sent(record, "c", "d", "f")
    record.acknowledged(
        again, answer_of(("c", "duplicate", 3), ("d", "duplicate", 4), ("f", "stored", 5))
    )
    assert (record.tally.lost, record.tally.doubled) == (0, 0)
    assert (record.tally.whole, record.tally.absent) == (1, 1)


async def test_a_request_stored_in_part_is_found_out(record: Record) -> None:
    attempts = [sent(record, "a", "b"), sent(record, "c", "d")]
    record.take(TOPIC, log_of("a", "d"))
    for attempt in attempts:
        with pytest.raises(Broken, match="of a request of 2 keys 1 are stored"):
            record.judge([attempt])


async def test_an_event_stored_twice_is_found_out(record: Record) -> None:
    with pytest.raises(Broken, match="is stored at 1 and 2"):
        record.take(TOPIC, log_of("a", "a"))
    assert record.tally.doubled == 1


async def test_a_retry_that_is_told_it_is_new_is_found_out(record: Record) -> None:
    first = sent(record, "a")
    record.take(TOPIC, log_of("a"))
    record.judge([first])
    answer = answer_of(("a", "stored", 1), ("b", "stored", 2))
    with pytest.raises(Broken, match="said to be new, but was there"):
        record.acknowledged(sent(record, "a", "b"), answer)
    assert record.tally.doubled == 1


async def test_a_retry_that_is_told_another_offset_is_found_out(record: Record) -> None:
    first = sent(record, "a")
    record.take(TOPIC, log_of("a"))
    record.judge([first])
    with pytest.raises(Broken, match="was at offset 1, and is now said to be at 2"):
        record.acknowledged(sent(record, "a"), answer_of(("a", "duplicate", 2)))


async def test_an_offset_that_is_missing_is_found_out(record: Record) -> None:
    with pytest.raises(Broken, match="offset 2 of 'orders' is missing"):
        record.take(TOPIC, [*log_of("a"), *log_of("b", first=3)])


async def test_a_log_that_changed_or_ends_earlier_is_found_out(record: Record) -> None:
    record.take(TOPIC, log_of("a", "b"))
    with pytest.raises(Broken, match="at offset 2 of 'orders' was 'b', now"):
        record.compare(TOPIC, 0, log_of("a", "c"))
    with pytest.raises(Broken, match="'orders' had 2 events, and ends at 1 now"):
        record.compare(TOPIC, 1, [])


async def test_a_verdict_that_the_log_does_not_bear_out_is_found_out(record: Record) -> None:
    record.acknowledged(sent(record, "a"), answer_of(("a", "conflict", 1)))
    verdicts = record.to_check()
    record.take(TOPIC, log_of("a"))
    with pytest.raises(Broken, match="what is stored says otherwise"):
        record.check(verdicts)


@pytest.mark.parametrize(
    "stats", [stats_of(3, 2), stats_of(1, 1), stats_of(3, 3), stats_of(2, 1, 1), stats_of(2, 1)]
)
async def test_counts_that_are_not_those_of_the_requests_are_found_out(
    record: Record, stats: dict[str, Any]
) -> None:
    answer = answer_of(("a", "stored", 1), ("b", "stored", 2))
    record.acknowledged(sent(record, "a", "b"), answer)
    record.take(TOPIC, log_of("a", "b"))
    with pytest.raises(Broken, match=r"of 'orders' is \d, it must be \d$"):
        record.check_stats(record.settled(), stats, quiet=True)


async def test_an_event_that_nobody_sent_is_found_out(record: Record) -> None:
    answer = answer_of(("a", "stored", 1), ("a", "duplicate", 1))
    record.acknowledged(sent(record, "a", "a"), answer)
    record.take(TOPIC, log_of("a", "foreign"))
    with pytest.raises(Broken, match="1 events are stored that no request accounts for"):
        record.check_stats(record.settled(), stats_of(2, 2), quiet=True)


def test_the_closing_table_sums_up_each_backend() -> None:
    one = Tally("sqlite", 1, "7", Counter({"idle": 2}), retried=3, whole=1, absent=2)
    three = Tally("sqlite", 3, "7", Counter({"idle": 4}), retried=5, whole=5, lost=1)
    lines = table([three.figures(), Tally("postgres", 1, "7").figures(), one.figures()])
    rows = [line.split() for line in lines]
    assert [row[:3] for row in rows[1:5]] == [
        ["sqlite", "1", "2"],
        ["sqlite", "3", "4"],
        ["sqlite", "in", "all"],
        ["postgres", "1", "0"],
    ]
    assert rows[3][-6:] == ["8", "6", "2", "1", "0", "0.0"]
    assert lines[-1].endswith("CRASH_CAMPAIGN_SEED=7")
    assert not any(line.startswith("consumers") for line in lines)


def test_the_closing_table_sums_up_consumers_where_there_are_any() -> None:
    tallies = [
        Tally("sqlite", count, "7", leases=2, settled_again=count, passed_over=1)
        for count in (1, 3)
    ]
    lines = table([*(each.figures() for each in tallies), Tally("postgres", 1, "7").figures()])
    (line,) = [line for line in lines if line.startswith("consumers")]
    assert line.startswith("consumers, sqlite: leases 4, delivered 0, ")
    assert ", settled again 4, " in line
    assert line.endswith(", passed over 2")

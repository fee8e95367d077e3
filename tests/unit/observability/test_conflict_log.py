"""Conflicts are warned of, at a bounded rate, and those left out are counted."""

import pytest
import structlog.testing
from support.clocks import StandingClock

from aggregator.logging import rate_limit
from aggregator.observability import conflict_log
from aggregator.observability.conflict_log import ConflictLog
from aggregator.request_context import RequestContext
from storage.model import Status, Verdict


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StandingClock:
    clock = StandingClock()
    monkeypatch.setattr(rate_limit, "time", clock)
    monkeypatch.setattr(conflict_log, "_log", structlog.get_logger())
    return clock


def asked(request_id: str) -> RequestContext:
    return RequestContext(
        request_id, "POST", "/publish", "/publish", "127.0.0.1", "test", 0.0, None
    )


def verdicts(status: Status, count: int) -> list[Verdict]:
    return [Verdict("orders", f"e-{number}", status, number) for number in range(count)]


def test_a_conflict_is_named_with_its_place_and_its_request(clock: StandingClock) -> None:
    with structlog.testing.capture_logs() as logged:
        ConflictLog().log([Verdict("orders", "e-1", Status.CONFLICT, 17)], asked("r-1"))
    assert logged == [
        {
            "event": "conflict",
            "log_level": "warning",
            "topic": "orders",
            "event_id": "e-1",
            "offset": 17,
            "request_id": "r-1",
        }
    ]


def test_what_is_no_conflict_is_not_warned_of(clock: StandingClock) -> None:
    with structlog.testing.capture_logs() as logged:
        ConflictLog().log(verdicts(Status.STORED, 3) + verdicts(Status.DUPLICATE, 3), asked("r"))
    assert logged == []


def test_so_many_a_second_are_warned_of_and_the_next_counts_the_others(
    clock: StandingClock,
) -> None:
    log = ConflictLog(max_per_second=3)
    with structlog.testing.capture_logs() as logged:
        log.log(verdicts(Status.CONFLICT, 2), asked("r-1"))
        log.log(verdicts(Status.CONFLICT, 8), asked("r-2"))
        assert [line["request_id"] for line in logged] == ["r-1", "r-1", "r-2"]
        assert not any("suppressed" in line for line in logged)
        clock.now_s += 1
        log.log(verdicts(Status.CONFLICT, 2), asked("r-3"))
        clock.now_s += 100
        log.log(verdicts(Status.CONFLICT, 1), asked("r-4"))
    later = [(line["request_id"], line.get("suppressed")) for line in logged[3:]]
    assert later == [("r-3", 7), ("r-3", None), ("r-4", None)]

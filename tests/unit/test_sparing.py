"""Of lines that come in thousands so many a second are written, and the others are counted."""

import asyncio

import pytest
import structlog.testing
from support.clocks import StandingClock

from aggregator import request_log, sparing
from aggregator.asked import Asked
from aggregator.request_log import RequestLog
from aggregator.sparing import Sparing
from aggregator.wire.answers import PublishSummary


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StandingClock:
    clock = StandingClock()
    monkeypatch.setattr(sparing, "time", clock)
    return clock


def test_so_many_a_second_and_the_next_one_counts_the_others(clock: StandingClock) -> None:
    lines = Sparing(2)
    assert [lines.fields() for _ in range(5)] == [{}, {}, None, None, None]
    clock.now_s = 101.0
    assert [lines.fields() for _ in range(3)] == [{"left_out_before": 3}, {}, None]
    clock.now_s = 200.0
    assert lines.fields() == {"left_out_before": 1}


def test_a_second_in_which_nothing_was_left_out_says_nothing_of_it(clock: StandingClock) -> None:
    lines = Sparing(2)
    lines.fields()
    clock.now_s = 101.0
    assert lines.fields() == {}


async def test_refused_requests_are_bounded_and_all_others_are_logged(
    clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_log, "_log", structlog.get_logger())
    monkeypatch.setattr(request_log, "time", clock)
    counted: list[tuple[str, int, float]] = []
    log = RequestLog(lambda *request: counted.append(request), refused_per_second=2)

    def note(id_: str, status: int, summary: PublishSummary | None = None) -> None:
        began = clock.now_s - 0.00123456
        log.note(Asked(id_, "POST", "/publish\udc80", began, None), status, summary)

    with structlog.testing.capture_logs() as logged:
        for number in range(4):
            note(f"refused-{number}", 503)
        for number in range(4):
            note(f"stored-{number}", 200, PublishSummary(4, 1, 3, 2))
        note("failed", 500)
        assert logged == [], "the event loop has not come to it"
        await asyncio.sleep(0)
        clock.now_s = 101.0
        note("later", 503)
        await asyncio.sleep(0)
    assert [line["request_id"] for line in logged] == [
        "refused-0", "refused-1", "stored-0", "stored-1", "stored-2", "stored-3", "failed", "later",
    ]  # fmt: skip
    assert [line.get("left_out_before") for line in logged] == [None] * 7 + [2]
    statuses = [status for _, status, _ in counted]
    assert statuses == [503] * 4 + [200] * 4 + [500, 503], "every one is counted"
    assert counted[0][:2] == ("/publish\udc80", 503)
    assert counted[0][2] == pytest.approx(1.23456)
    at = [line.pop("timestamp") for line in logged]
    assert len(set(at[:7])) == 1, "they were written together"
    assert logged[2] == {
        "event": "request",
        "log_level": "info",
        "request_id": "stored-0",
        "method": "POST",
        "path": "/publish\\udc80",
        "status": 200,
        "duration_ms": 1.235,
        "received": 4,
        "unique_processed": 1,
        "duplicate_dropped": 3,
        "conflicts": 2,
    }

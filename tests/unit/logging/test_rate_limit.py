"""Of lines that come in thousands so many a second are written, and the others are counted."""

import asyncio

import pytest
import structlog.testing
from support.clocks import StandingClock

from aggregator.logging import rate_limit
from aggregator.logging.rate_limit import LogRateLimit, write_counts
from aggregator.observability import access_log
from aggregator.observability.access_log import AccessLog
from aggregator.request_context import RequestContext
from aggregator.wire.responses import PublishSummary


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StandingClock:
    clock = StandingClock()
    monkeypatch.setattr(rate_limit, "time", clock)
    return clock


def test_so_many_a_second_and_the_next_one_counts_the_others(clock: StandingClock) -> None:
    lines = LogRateLimit("kind", 2)
    assert [lines.fields() for _ in range(5)] == [{}, {}, None, None, None]
    clock.now_s = 101.0
    assert [lines.fields() for _ in range(3)] == [{"suppressed": 3, "left_out_before": 3}, {}, None]
    clock.now_s = 200.0
    assert lines.fields() == {"suppressed": 1, "left_out_before": 1}


def test_a_second_in_which_nothing_was_left_out_says_nothing_of_it(clock: StandingClock) -> None:
    lines = LogRateLimit("kind", 2)
    lines.fields()
    clock.now_s = 101.0
    assert lines.fields() == {}


@pytest.fixture
def seconds(clock: StandingClock, monkeypatch: pytest.MonkeyPatch) -> "Seconds":
    monkeypatch.setattr(rate_limit, "_log", structlog.get_logger())
    return Seconds(clock)


class Seconds:
    """Lets a second pass at once, for limits on lines and for their timers."""

    def __init__(self, clock: StandingClock) -> None:
        self._clock = clock

    def pass_one(self) -> None:
        """The next second has begun."""
        self._clock.now_s += 1

    @staticmethod
    def ring(lines: LogRateLimit) -> None:
        """Have its timer come now."""
        timer, lines._timer = lines._timer, None
        assert timer is not None
        timer.cancel()
        lines._on_timer()


async def test_the_end_of_a_burst_is_counted_about_a_second_later(seconds: Seconds) -> None:
    lines = LogRateLimit("kind", 2, level="warning")
    with structlog.testing.capture_logs() as logged:
        for _ in range(1000):
            lines.fields()
        seconds.pass_one()
        seconds.ring(lines)
        assert lines._timer is None, "there is nothing more to tell"
    assert logged == [{
        "event": "log_lines_suppressed", "log_level": "warning", "of": "kind",
        "suppressed": 998, "left_out_before": 998,
    }]  # fmt: skip
    assert lines.fields() == {}, "it was told"


async def test_while_a_burst_goes_on_its_own_lines_count(seconds: Seconds) -> None:
    lines = LogRateLimit("kind", 2)
    written: list[dict[str, int]] = []
    with structlog.testing.capture_logs() as logged:
        for _ in range(5):
            written += [more for _ in range(10) if (more := lines.fields()) is not None]
            # The timer comes behind the second's own lines, and finds that the next will tell.
            seconds.ring(lines)
            assert lines._timer is not None
            seconds.pass_one()
        assert logged == []
        seconds.ring(lines)
    told = [*written, *logged]
    assert len(written) + sum(line.get("suppressed", 0) for line in told) == 50
    assert len(logged) == 1


async def test_the_timer_is_the_event_loop_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "_log", structlog.get_logger())
    lines = LogRateLimit("kind", 1, every_s=0.01)
    with structlog.testing.capture_logs() as logged:
        while lines.fields() is not None:
            pass
        async with asyncio.timeout(30):
            while not logged:  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.001)
    assert logged[0]["suppressed"] == 1


def test_at_the_end_of_the_process_what_is_left_is_counted(seconds: Seconds) -> None:
    # Without an event loop, as in a thread: there is no timer.
    lines = LogRateLimit("kind", 2)
    with structlog.testing.capture_logs() as logged:
        for _ in range(7):
            lines.fields()
        write_counts()
        write_counts()
    assert [line["suppressed"] for line in logged if line["of"] == "kind"] == [5]


async def test_refused_requests_are_bounded_and_all_others_are_logged(
    clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "_log", structlog.get_logger())
    monkeypatch.setattr(access_log, "time", clock)
    counted: list[tuple[str, int, float]] = []
    log = AccessLog(lambda *request: counted.append(request), max_refused_per_second=2)

    def finish(id_: str, status: int, summary: PublishSummary | None = None) -> None:
        began = clock.now_s - 0.00123456
        agent = "agent/1.0"
        asked = RequestContext(
            id_, "POST", "/publish\udc80", "/publish", "127.0.0.1", agent, began, None
        )
        log.finish(asked, status, summary)

    with structlog.testing.capture_logs() as logged:
        for number in range(4):
            finish(f"refused-{number}", 503)
        for number in range(4):
            finish(f"stored-{number}", 200, PublishSummary(4, 1, 3, 2))
        finish("failed", 500)
        assert logged == [], "the event loop has not come to it"
        await asyncio.sleep(0)
        clock.now_s = 101.0
        finish("later", 503)
        await asyncio.sleep(0)
    assert [line["request_id"] for line in logged] == [
        "refused-0", "refused-1", "stored-0", "stored-1", "stored-2", "stored-3", "failed", "later",
    ]  # fmt: skip
    assert [line.get("suppressed") for line in logged] == [None] * 7 + [2]
    statuses = [status for _, status, _ in counted]
    assert statuses == [503] * 4 + [200] * 4 + [500, 503], "every one is counted"
    assert counted[0][:2] == ("/publish", 503)
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
        "client": "127.0.0.1",
        "user_agent": "agent/1.0",
        "received": 4,
        "unique_processed": 1,
        "duplicate_dropped": 3,
        "conflicts": 2,
    }

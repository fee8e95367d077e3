"""The line of a request: who sent it, and that no observer of one costs the others theirs."""

import asyncio
from collections.abc import Callable

import pytest
import structlog.testing
from multidict import CIMultiDict, CIMultiDictProxy
from support.clocks import StandingClock

from aggregator.ingest.telemetry import StartTrace
from aggregator.logging import observer_guard, rate_limit
from aggregator.logging.rate_limit import LogRateLimit
from aggregator.observability import access_log
from aggregator.observability.access_log import AccessLog
from aggregator.observability.labels import WAITS_PATH
from aggregator.request_context import RequestContext


@pytest.fixture(autouse=True)
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (observer_guard, access_log):
        monkeypatch.setattr(module, "_log", structlog.get_logger())
    monkeypatch.setattr(
        observer_guard, "_failures", LogRateLimit("observer_failed", 1000, level="error")
    )
    monkeypatch.setattr(rate_limit, "time", StandingClock())


class FailingTraced:
    """A request whose span can't be ended."""

    @property
    def log_fields(self) -> dict[str, str]:
        return {"trace_id": "t", "span_id": "s"}

    def end(self, *_: object) -> None:
        raise RuntimeError("no span")


class Traced(FailingTraced):
    """One whose span can."""

    ended = 0

    def end(self, *_: object) -> None:
        Traced.ended += 1


class Unprintable(Traced):
    """One whose line can't be made."""

    @property
    def log_fields(self) -> dict[str, str]:
        raise RuntimeError("no names")


def nothing(*_: object) -> None:
    """Observes without a word."""


def fail(*_: object) -> None:
    raise RuntimeError("no metrics")


def headers(**fields: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict({k.replace("_", "-"): v for k, v in fields.items()}))


def begin(log: AccessLog, **fields: str) -> RequestContext:
    return log.begin(headers(**fields), "GET", "/stats", "/stats", "192.0.2.7")


def of_trace(traced: Traced | FailingTraced) -> StartTrace:
    return lambda *_: traced


async def lines_of(log: AccessLog, *asked: RequestContext) -> list[dict[str, object]]:
    """What is logged of requests that are over in one turn of the loop."""
    with structlog.testing.capture_logs() as logged:
        for each in asked:
            log.finish(each, 200)
        await asyncio.sleep(0)
    return [dict(line) for line in logged]


@pytest.mark.parametrize(
    ("on_request", "traced", "lines"),
    [
        pytest.param(fail, Traced(), 10, id="metrics"),
        pytest.param(nothing, FailingTraced(), 10, id="span"),
        pytest.param(nothing, Unprintable(), 0, id="line"),
    ],
)
async def test_an_observer_that_fails_costs_only_what_it_observes(
    on_request: Callable[..., object],
    traced: FailingTraced,
    lines: int,
) -> None:
    Traced.ended = 0
    counted: list[str] = []

    def count(route: str, status: int, duration_ms: float) -> None:
        counted.append(route)
        on_request(route, status, duration_ms)

    log = AccessLog(count, of_trace(traced))
    logged = await lines_of(log, *[begin(log) for _ in range(10)])
    assert [line["event"] for line in logged].count("request") == lines
    assert [line["event"] for line in logged].count("observer_failed") == 10
    assert counted == ["/stats"] * 10
    assert Traced.ended == (0 if type(traced) is FailingTraced else 10)


async def test_a_request_whose_trace_cannot_be_found_is_a_request() -> None:
    log = AccessLog(nothing, fail)
    with structlog.testing.capture_logs() as logged:
        asked = begin(log, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    assert asked.trace is None
    assert [line["event"] for line in logged] == ["observer_failed"]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({}, ""),
        ({"User_Agent": "aggregator-publisher/1.0"}, "aggregator-publisher/1.0"),
        ({"User_Agent": "x" * 5_000}, "x" * 100),
        ({"User_Agent": "caf\u00e9 \udcff"}, "caf\u00e9 \\udcff"),
    ],
)
async def test_the_line_says_who_sent_it_in_bounded_length(
    sent: dict[str, str], shown: str
) -> None:
    log = AccessLog(nothing)
    (line,) = await lines_of(log, begin(log, **sent))
    assert (line["client"], line["user_agent"]) == ("192.0.2.7", shown)


async def test_the_line_of_a_wait_says_that_it_is_one() -> None:
    log = AccessLog(nothing)
    waited = log.begin(headers(), "GET", "/events", WAITS_PATH, "192.0.2.7")
    first, second = await lines_of(log, begin(log), waited)
    assert "wait" not in first
    assert (second["path"], second["wait"]) == ("/events", True)


async def test_what_a_proxy_says_of_its_client_is_not_believed() -> None:
    log = AccessLog(nothing)
    (line,) = await lines_of(log, begin(log, X_Forwarded_For="203.0.113.9", Forwarded="for=a"))
    assert line["client"] == "192.0.2.7"
    assert "203.0.113.9" not in str(line)

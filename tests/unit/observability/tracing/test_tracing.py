"""Spans where things go wrong: what they say, what they are linked with, what is logged."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from multidict import CIMultiDict, CIMultiDictProxy
from support.clocks import StandingClock
from support.collector import Collector, collecting
from support.events import published
from support.in_process import InProcessStore
from support.served import Served, refuse, serving, talking
from support.sockets import post
from support.stores import ControlledStore, until

from aggregator.app import create_app
from aggregator.ingest.telemetry import CannotTrace
from aggregator.observability.tracing import otlp_exporter
from aggregator.settings.model import Settings
from storage.errors import OutcomeUnknown, StorageError, StorageUnavailable

Serve = Callable[..., AbstractAsyncContextManager[tuple[Served, ControlledStore]]]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        for name, value in collector.environment().items():
            monkeypatch.setenv(name, value)
        yield collector


@pytest.fixture
def serve(tmp_path: Path, collector: Collector) -> Serve:
    """The application with tracing on; all is exported when its context ends."""

    @asynccontextmanager
    async def run() -> AsyncIterator[tuple[Served, ControlledStore]]:
        store = ControlledStore(InProcessStore(tmp_path / "log.db"))
        async with serving(tmp_path, store, tracing="otlp") as served:
            yield served, store

    return run


def named(*event_ids: str) -> bytes:
    """A publish of events with these ids."""
    return post(json.dumps([published(event_id=id_) for id_ in event_ids]).encode())


async def answer(served: Served, request: bytes) -> int:
    """The status of its answer, on a connection of its own."""
    async with talking(served) as talk:
        return (await talk.answer(request))[0]


async def behind_a_held_flush(
    served: Served, store: ControlledStore, requests: list[bytes]
) -> list[int]:
    """The statuses of requests that share a flush, behind two others that keep the store busy."""
    store.hold()
    waiting = []
    for busy, id_ in enumerate(("busy-1", "busy-2"), 1):
        waiting.append(asyncio.create_task(answer(served, named(id_))))
        await until(lambda busy=busy: len(store.batches) == busy, "a busy store")  # type: ignore[misc]
    waiting += [asyncio.create_task(answer(served, request)) for request in requests]
    async with talking(served) as talk:
        # Each request has one event.
        while (
            f"\naggregator_queue_events {len(waiting)}.0\n".encode()
            not in (await talk.answer(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))[2]
        ):
            pass
    store.release()
    return (await asyncio.gather(*waiting))[2:]


async def test_a_refused_batch_is_one_flush_with_every_try(
    serve: Serve, collector: Collector
) -> None:
    async with serve() as (served, store):
        store.refused = {"bad"}
        assert await behind_a_held_flush(served, store, [named("a"), named("bad"), named("c")]) == [
            200,
            503,
            200,
        ]
    publishes = {span.place: span for span in collector.spans("POST /publish")}
    (flush,) = [s for s in collector.spans("flush") if s.attributes["aggregator.requests"] == 3]
    assert flush.failed
    assert flush.attributes["aggregator.outcome"] == "partial"
    assert flush.attributes["error.type"] == "BatchRefused"
    assert flush.message == "the database refused it"
    tries = [s for s in collector.spans("transaction") if s.parent_id == flush.span_id]
    assert [
        (t.attributes["aggregator.requests"], t.attributes["aggregator.outcome"], t.failed)
        for t in tries
    ] == [
        (3, "refused", True),
        (1, "committed", False),
        (1, "refused", True),
        (1, "committed", False),
    ]
    served_by = [publishes[link] for link in flush.links]
    assert [span.failed for span in served_by] == [False, True, False]
    assert served_by[1].attributes["error.type"] == "503"
    assert all(span.links == [flush.place] for span in served_by)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StorageUnavailable("the disk is full"), "unavailable"),
        (OutcomeUnknown("the connection is gone"), "unknown"),
    ],
)
async def test_a_failure_of_the_store_is_in_all_three(
    serve: Serve, collector: Collector, error: StorageError, outcome: str
) -> None:
    async with serve() as (served, store):
        store.broken = error
        assert await answer(served, named("a")) == 503
    (request,) = collector.spans("POST /publish")
    (flush,) = collector.spans("flush")
    (transaction,) = collector.spans("transaction")
    for span in (flush, transaction):
        assert span.failed
        assert span.message == str(error)
        assert span.attributes["aggregator.outcome"] == outcome
        assert span.attributes["error.type"] == type(error).__name__
    assert request.failed
    assert request.attributes["http.response.status_code"] == 503
    assert "messaging.batch.message_count" not in request.attributes


async def test_what_nobody_foresaw_is_told_by_its_kind_alone(
    serve: Serve, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> Any:
        raise RuntimeError("payload: hush-4711")

    async with serve() as (served, store):
        monkeypatch.setattr(store, "append", fail)
        assert await answer(served, named("a")) == 503
    (flush,) = collector.spans("flush")
    assert (flush.message, flush.attributes["aggregator.outcome"]) == ("RuntimeError", "unforeseen")
    assert "hush" not in str(collector.spans())


async def test_a_publish_that_is_refused_at_the_door_is_a_failed_span_of_no_flush(
    serve: Serve, collector: Collector
) -> None:
    async with serve() as (served, _):
        await refuse(served)
        for request in (named("a"), named("a").replace(b"/publish ", b"/publish? ")):
            assert await answer(served, request) == 503
    requests = collector.spans("POST /publish")
    assert len(requests) == 2
    assert all(span.failed and not span.links for span in requests)
    assert collector.spans("flush") == []


async def test_a_compressed_publish_has_one_span(serve: Serve, collector: Collector) -> None:
    async with serve() as (served, _):
        # It is looked at on the short way, and goes the usual one.
        assert await answer(served, post(b"no gzip", Content_Encoding="gzip")) == 400
    assert len(collector.spans()) == 1


async def test_a_flush_is_linked_with_as_many_as_a_span_may_be(
    serve: Serve, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SPAN_LINK_COUNT_LIMIT", "2")
    async with serve() as (served, store):
        requests = [named(f"e-{number}") for number in range(5)]
        assert await behind_a_held_flush(served, store, requests) == [200] * 5
    (flush,) = [s for s in collector.spans("flush") if s.attributes["aggregator.requests"] == 5]
    publishes = [s for s in collector.spans("POST /publish") if s.links == [flush.place]]
    assert len(publishes) == 5, "each leads to its flush all the same"
    assert len(flush.links) == 2
    assert set(flush.links) <= {span.place for span in publishes}


async def test_a_flush_has_128_links_unless_it_is_said_otherwise(
    collector: Collector, tmp_path: Path
) -> None:
    spans = otlp_exporter.ExportedSpans("sqlite")
    try:
        assert spans._max_links == 128
    finally:
        await spans.aclose()


@pytest.mark.parametrize("path", ["/\udcff\udcfe", "/%ff", "/\ud800", "/" + "x" * 7000])
async def test_a_hostile_path_costs_no_other_span(collector: Collector, path: str) -> None:
    spans = otlp_exporter.ExportedSpans("sqlite")
    for each in (path, "/events"):
        traced = spans.request(CIMultiDictProxy(CIMultiDict()), "r-1", "GET", each, "")
        assert traced is not None
        traced.end(404, 1.0, None)
    await spans.aclose()
    told = path.encode("utf-8", "backslashreplace").decode()
    assert {span.attributes["url.path"] for span in collector.spans("GET")} == {told, "/events"}


async def test_a_tracestate_is_neither_kept_nor_logged(serve: Serve, collector: Collector) -> None:
    sent = f"00-{'a' * 32}-{'b' * 16}-01"
    with structlog.testing.capture_logs() as logged:
        async with serve() as (served, _):
            request = named("a").replace(
                b"\r\n", f"\r\ntraceparent: {sent}\r\ntracestate: bad,,=\r\n".encode(), 1
            )
            assert await answer(served, request) == 200
    (span,) = collector.spans("POST /publish")
    assert (span.trace_id, span.parent_id, span.tracestate) == ("a" * 32, "b" * 16, "")
    assert "bad" not in str(logged)


async def test_with_the_sdk_disabled_a_request_is_in_the_trace_of_its_sender(
    serve: Serve, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with serve() as (served, _):
        assert await answer(served, named("a")) == 200
    assert collector.spans() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:port"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "many"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nobody"),
    ],
)
def test_a_variable_that_can_t_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    settings = Settings.from_values({"database": tmp_path / "log.db", "tracing": "otlp"})
    with pytest.raises(CannotTrace) as refused:
        create_app(settings)
    assert value in str(refused.value) or "max_queue_size" in str(refused.value)


async def test_what_the_sdk_logs_is_a_line_a_minute_that_counts_the_others(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StandingClock()
    monkeypatch.setattr(otlp_exporter, "_log", structlog.get_logger())
    spans = otlp_exporter.ExportedSpans("sqlite")
    logger = logging.getLogger("opentelemetry.anything")
    monkeypatch.setattr(otlp_exporter, "time", clock)
    with structlog.testing.capture_logs() as logged:
        logger.info("chatter")
        for number in range(1000):
            logger.error("failed, the %dth time", number, exc_info=RuntimeError("why"))
        clock.now_s += otlp_exporter.LOG_EVERY_S
        logger.warning("again")
    assert logged == [
        {
            "event": "tracing_failed", "log_level": "warning",
            "reason": "failed, the 0th time", "logger": "opentelemetry.anything",
        },
        {
            "event": "tracing_failed", "log_level": "warning", "suppressed": 999,
            "left_out_before": 999, "reason": "again", "logger": "opentelemetry.anything",
        },
    ]  # fmt: skip
    with structlog.testing.capture_logs() as logged:
        logger.warning("the last, of which nobody would hear")
        await spans.aclose()
    assert logged == [{
        "event": "log_lines_suppressed", "log_level": "warning", "of": "tracing_failed",
        "suppressed": 1, "left_out_before": 1,
    }]  # fmt: skip

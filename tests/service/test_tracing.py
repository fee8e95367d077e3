"""Spans of the real process, as a collector gets them: of requests, flushes and transactions."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import jq
import pytest
from support.backends import Database
from support.collector import Collector, collecting
from support.events import published
from support.load import Told, batch_of, publish, session
from support.processes import Aggregator
from support.sluggish import connections, head_of_post

import aggregator as package

Run = Callable[..., Aggregator]

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
NOT_SAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-00"}

# The second is no publish that the short way knows.
WAYS = ["/publish", "/publish?"]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def traced(run_aggregator: Run, collector: Collector) -> Run:
    """Starts an aggregator that exports its spans to the collector."""

    def run(*arguments: str, **env: str) -> Aggregator:
        return run_aggregator("--tracing", "otlp", *arguments, env=collector.environment(**env))

    return run


async def stop(aggregator: Aggregator) -> None:
    """Stop it; what it had to export is exported by then."""
    assert await asyncio.to_thread(aggregator.stop) == 0


DOCUMENTED = Path(__file__).parents[2] / "docs" / "operate" / "tracing.md"


@pytest.mark.parametrize("way", WAYS)
async def test_a_publish_its_flush_and_its_transaction(
    traced: Run, collector: Collector, database: Database, way: str
) -> None:
    aggregator = traced(*database.arguments())
    events = batch_of("orders", ["e-1", "e-2", "e-1"])
    async with session() as client:
        headers = SAMPLED | {"X-Request-ID": "r-1"}
        answer = await client.post(f"{aggregator.url}{way}", json=events, headers=headers)
        assert answer.status == 200
    await stop(aggregator)
    (request,) = collector.spans("POST /publish")
    (flush,) = collector.spans("flush")
    (transaction,) = collector.spans("transaction")
    assert len(collector.spans()) == 3

    assert (request.trace_id, request.parent_id, request.kind) == (TRACE, SPAN, "SERVER")
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/publish",
        "http.response.status_code": 200,
        "url.path": "/publish",
        "url.scheme": "http",
        "messaging.batch.message_count": 3,
        "aggregator.request_id": "r-1",
        "aggregator.unique_processed": 2,
        "aggregator.duplicate_dropped": 1,
        "aggregator.conflicts": 0,
    }
    assert flush.trace_id != TRACE
    assert (flush.parent_id, flush.kind) == ("", "INTERNAL")
    assert flush.attributes == {
        "messaging.batch.message_count": 3,
        "aggregator.requests": 1,
        "aggregator.outcome": "committed",
    }
    assert flush.links == [request.place]
    assert request.links == [flush.place]
    assert (transaction.trace_id, transaction.parent_id) == flush.place
    assert transaction.kind == "CLIENT"
    assert transaction.attributes == {
        "db.system.name": {"sqlite": "sqlite", "postgres": "postgresql"}[database.backend],
        "db.operation.batch.size": 3,
        "aggregator.requests": 1,
        "aggregator.outcome": "committed",
    }
    assert not any(span.failed for span in collector.spans())
    assert request.start_ns <= flush.start_ns <= transaction.start_ns
    assert transaction.end_ns <= flush.end_ns


async def test_every_publish_and_the_flush_that_served_it_lead_to_each_other(
    traced: Run, collector: Collector
) -> None:
    aggregator = traced()
    told = Told()
    batches = [batch_of("orders", [f"{p}-{n}" for n in range(3)]) for p in range(40)]
    async with session() as client:
        await asyncio.gather(*(publish(client, aggregator.url, batch, told) for batch in batches))
    await stop(aggregator)
    assert told.requests == 40
    requests = {span.place: span for span in collector.spans("POST /publish")}
    flushes = {span.place: span for span in collector.spans("flush")}
    assert len(requests) == 40
    assert len({span.trace_id for span in requests.values()}) == 40
    served = [(link, place) for place, flush in flushes.items() for link in flush.links]
    by = [(place, link) for place, request in requests.items() for link in request.links]
    assert len(by) == 40
    assert sorted(served) == sorted(by)
    assert sum(flush.attributes["aggregator.requests"] for flush in flushes.values()) == 40
    assert all(
        flush.attributes["aggregator.requests"] == len(flush.links) for flush in flushes.values()
    )
    transactions = collector.spans("transaction")
    assert sorted((each.trace_id, each.parent_id) for each in transactions) == sorted(flushes)


async def test_log_lines_name_the_spans_that_they_belong_to(
    traced: Run, collector: Collector
) -> None:
    aggregator = traced()
    async with session() as client:
        for total in (1, 2):
            event = published(event_id="e-1", payload={"total": total})
            await client.post(f"{aggregator.url}/publish", json=event)
    await stop(aggregator)
    first, second = collector.wait_for("POST /publish", 2)
    flushes = collector.wait_for("flush", 2)
    lines = [line for line in aggregator.log_lines() if line.get("trace_id") == second.trace_id]
    assert sorted(line["event"] for line in lines) == ["conflict", "request"]
    assert {line["span_id"] for line in lines} == {second.span_id}
    (link,) = second.links
    assert link == flushes[1].place
    (flushed,) = [line for line in aggregator.log_lines("flush") if line["trace_id"] == link[0]]
    assert flushed["span_id"] == link[1]
    assert flushed["topics"] == {"orders": {"conflict": 1}}

    in_trace, slowest = re.findall(r"```jq\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    every = aggregator.log_lines()
    for trace, expected in ((second.trace_id, lines), (link[0], [flushed])):
        assert jq.compile(in_trace, args={"trace": trace}).input_value(every).first() == expected
    told = jq.compile(slowest).input_value(every).first()
    assert sorted(row["span_id"] for row in told) == sorted([first.span_id, second.span_id])
    assert not any(word in str(collector.spans()) for word in ("e-1", "'orders'", "total"))


REQUESTS = [
    ("GET", "/events?topic=orders", "GET /events", "/events", 200),
    ("GET", "/events/a/b", "GET /events/{topic}/{event_id}", "/events/{topic}/{event_id}", 404),
    ("HEAD", "/stats", "HEAD /stats", "/stats", 200),
    ("GET", "/metrics", "GET /metrics", "/metrics", 200),
    ("GET", "/no/such%20path", "GET", None, 404),
    ("DELETE", "/stats", "DELETE /stats", "/stats", 405),
    ("PROPFIND", "/stats", "HTTP /stats", "/stats", 405),
]


async def test_every_other_request_has_a_span(traced: Run, collector: Collector) -> None:
    aggregator = traced()
    async with session() as client:
        for method, path, _, _, status in REQUESTS:
            answer = await client.request(method, f"{aggregator.url}{path}")
            assert answer.status == status
    await stop(aggregator)
    for method, path, name, route, status in REQUESTS:
        (span,) = collector.spans(name)
        assert span.kind == "SERVER"
        about = span.attributes
        assert about["http.request.method"] == ("_OTHER" if name.startswith("HTTP") else method)
        assert about.get("http.request.method_original") == (
            method if name.startswith("HTTP") else None
        )
        assert about.get("http.route") == route
        assert about["url.path"] == path.partition("?")[0]
        assert about["http.response.status_code"] == status
        assert not span.failed, "it failed by who asked, not by who answered"


async def test_a_request_that_is_never_answered_is_a_failed_span(
    traced: Run, collector: Collector
) -> None:
    aggregator = traced()
    with connections(aggregator) as clients:
        await asyncio.to_thread(clients.open, head_of_post(10) + b"half")
        # Asked after it, answered with it under way.
        assert aggregator.log_lines("listening")
        await stop(aggregator)
    (span,) = collector.spans("POST /publish")
    assert span.failed
    assert span.attributes["error.type"] == "unanswered"
    assert "http.response.status_code" not in span.attributes


async def test_the_sender_s_decision_is_kept(traced: Run, collector: Collector) -> None:
    aggregator = traced(OTEL_TRACES_SAMPLER="parentbased_always_off")
    url = f"{aggregator.url}/publish"
    async with session() as client:
        for headers in (NOT_SAMPLED, {}, SAMPLED):
            await client.post(url, json=published(), headers=headers)
    await stop(aggregator)
    (request,) = collector.spans("POST /publish")
    assert request.parent_id == SPAN
    (flush,) = collector.spans("flush")
    assert flush.links == [request.place]
    told = [(line.get("trace_id"), line.get("span_id")) for line in aggregator.log_lines("request")]
    assert told == [(TRACE, SPAN), (None, None), (TRACE, request.span_id)]


async def test_nothing_is_recorded_of_what_nobody_samples(
    traced: Run, collector: Collector
) -> None:
    aggregator = traced(OTEL_TRACES_SAMPLER="always_off")
    async with session() as client:
        await client.post(f"{aggregator.url}/publish", json=published(), headers=SAMPLED)
    await stop(aggregator)
    assert collector.spans() == []
    assert len(aggregator.log_lines("flush")) == 1
    assert not any("trace_id" in line for line in aggregator.log_lines("flush"))


async def test_the_resource_says_who_it_is(traced: Run, collector: Collector) -> None:
    aggregator = traced()
    await stop(aggregator)
    assert collector.resources == []
    named = traced(
        OTEL_SERVICE_NAME="orders-log",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
    )
    again = traced()
    async with session() as client:
        await client.get(f"{named.url}/health")
        await client.get(f"{again.url}/health")
    await stop(named)
    await stop(again)
    told = {resource["service.name"]: resource for resource in collector.resources}
    assert set(told) == {"orders-log", "pubsub-log-aggregator"}
    assert {resource["service.version"] for resource in told.values()} == {package.__version__}
    assert told["orders-log"]["deployment.environment.name"] == "test"
    assert collector.paths == {"/v1/traces"}


async def test_with_tracing_off_nothing_is_exported(
    run_aggregator: Run, collector: Collector
) -> None:
    aggregator = run_aggregator("--backend", "sqlite", env=collector.environment())
    async with session() as client:
        await client.post(f"{aggregator.url}/publish", json=published(), headers=SAMPLED)
    await stop(aggregator)
    assert collector.spans() == []
    (line,) = aggregator.log_lines("request")
    assert (line["trace_id"], line["span_id"]) == (TRACE, SPAN)

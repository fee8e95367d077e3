"""A request's `traceparent` is in each of its log lines, without OpenTelemetry."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from support.command import environment
from support.events import published
from support.load import Told, batch_of, publish_until_taken, session, until
from support.processes import Aggregator
from support.sluggish import connections

Run = Callable[..., Aggregator]

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = {"traceparent": f"00-{TRACE}-{SPAN}-00"}
NAMES = {"trace_id": TRACE, "span_id": SPAN}
NO_NAMES = dict.fromkeys(NAMES)

# The second is no publish that the short way knows.
WAYS = ["/publish", "/publish?"]


@pytest.fixture
def aggregator(run_aggregator: Run) -> Aggregator:
    return run_aggregator("--backend", "sqlite")


def names(line: Mapping[str, Any]) -> dict[str, Any]:
    """What a line says of a trace."""
    return {name: line.get(name) for name in NAMES}


@pytest.mark.parametrize("way", WAYS)
async def test_a_publish_and_its_conflict_are_in_the_trace_of_their_sender(
    aggregator: Aggregator, way: str
) -> None:
    url = f"{aggregator.url}{way}"
    async with session() as client:
        await client.post(url, json=published(event_id="e-1"))
        conflict = published(event_id="e-1", payload={"other": 1})
        assert (await client.post(url, json=conflict, headers=SENT)).status == 200
        assert (await client.post(url, json=[], headers=SENT)).status == 422
    told = [
        (line.get("status"), names(line))
        for line in aggregator.log_lines()
        if line["event"] in {"request", "conflict"}
    ]
    conflicts = aggregator.log_lines("conflict")
    assert sorted(told, key=str) == sorted(
        [(200, NO_NAMES), (200, NAMES), (None, NAMES), (422, NAMES)], key=str
    )
    assert [names(line) for line in conflicts] == [NAMES]


@pytest.mark.parametrize("path", ["/events", "/events/a/b", "/stats", "/ready", "/metrics", "/no"])
async def test_so_is_every_other_request(aggregator: Aggregator, path: str) -> None:
    async with session() as client:
        await client.get(f"{aggregator.url}{path}", headers=SENT)
        await client.get(f"{aggregator.url}{path}")
    lines = [line for line in aggregator.log_lines("request") if line["path"] == path]
    assert [names(line) for line in lines] == [NAMES, NO_NAMES]


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_not_valid_changes_nothing(aggregator: Aggregator, way: str) -> None:
    invalid = [
        [("traceparent", SENT["traceparent"].upper())],
        [("traceparent", f"00-{'0' * 32}-{SPAN}-01")],
        [("traceparent", SENT["traceparent"]), ("traceparent", SENT["traceparent"])],
        [("traceparent", "caf\u00e9" * 1000)],
        [("traceparent", "")],
        [("tracestate", "a=1")],
    ]
    async with session() as client:
        for headers in invalid:
            answer = await client.post(f"{aggregator.url}{way}", json=published(), headers=headers)
            assert answer.status == 200, headers
    lines = aggregator.log_lines("request")
    assert len(lines) == len(invalid)
    assert [line for line in lines if {"trace_id", "span_id"} & set(line)] == []


async def test_an_answer_that_is_cut_off_is_in_its_trace(run_aggregator: Run) -> None:
    aggregator = run_aggregator("--backend", "sqlite", "--send-timeout-ms", "200")
    told = Told()
    async with session() as client:
        for number in range(10):
            batch = batch_of("large", [f"e-{number}"])
            batch[0]["payload"] = {"text": "x" * 1_000_000}
            await publish_until_taken(client, aggregator.url, batch, told)
    asked = f"GET /events HTTP/1.1\r\nHost: x\r\ntraceparent: {SENT['traceparent']}\r\n\r\n"
    with connections(aggregator) as clients:
        await asyncio.to_thread(clients.open, asked.encode(), receive_buffer=4096)
        await until(lambda: bool(aggregator.log_lines("response_aborted")))
    assert [names(line) for line in aggregator.log_lines("response_aborted")] == [NAMES]


IMPORTED = """
import sys
from aggregator.app import create_app
from aggregator.server.run import serve
from aggregator.settings.model import Settings
create_app(Settings.from_values({"tracing": "off"}))
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_opentelemetry_is_not_imported_for_it() -> None:
    command = [sys.executable, "-c", IMPORTED]
    assert subprocess.check_output(command, env=environment()).decode().strip() == "[]"

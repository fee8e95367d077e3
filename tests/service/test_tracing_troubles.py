"""Tracing that can't be done: a collector out of reach, a missing extra, a wrong variable."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.command import environment, run_to_end
from support.load import Told, batch_of, publish, session, until
from support.processes import Aggregator

Run = Callable[..., Aggregator]


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of what takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as taken:
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """The URL of a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("which", ["silent", "closed"])
async def test_a_collector_out_of_reach_costs_spans_and_no_publish(
    run_aggregator: Run, request: pytest.FixtureRequest, which: str
) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": request.getfixturevalue(which),
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1" if which == "closed" else "300",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
        "OTEL_BSP_MAX_QUEUE_SIZE": "10",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "5",
        "NO_PROXY": "127.0.0.1",
    }
    aggregator = run_aggregator("--backend", "sqlite", "--tracing", "otlp", env=env)
    told = Told()
    async with session() as client:
        for number in range(100):
            await publish(client, aggregator.url, batch_of("orders", [f"e-{number}"]), told)
        await until(lambda: bool(aggregator.log_lines("tracing_failed")))
        for number in range(100, 200):
            await publish(client, aggregator.url, batch_of("orders", [f"e-{number}"]), told)
    assert told.requests == 200
    assert await asyncio.to_thread(aggregator.stop) == 0
    lines = aggregator.log_lines("tracing_failed")
    assert all(line["level"] == "warning" and line["reason"] for line in lines)
    # Of hundreds of spans lost one line, and one of the last of them if they cost time.
    assert len(lines) == 2 or which == "closed"
    assert len(lines) <= 2
    assert which == "closed" or "within 3 seconds" in lines[-1]["reason"]
    assert b"Traceback" not in aggregator.written()
    assert not any("exception" in line for line in aggregator.log_lines())
    troubles = {line["event"] for line in aggregator.log_lines() if line["level"] != "info"}
    # The last of the suppressed are counted when it ends.
    assert troubles - {"log_lines_suppressed"} == {"tracing_failed"}


def refused(cwd: Path, **env: str) -> str:
    """Run it with tracing on, expect one sentence and exit code 2, and return the sentence."""
    ended = run_to_end("--port", "0", "--tracing", "otlp", cwd=cwd, env=env)
    assert ended.code == 2, ended
    assert "Traceback" not in ended.out + ended.err
    (sentence,) = ended.err.splitlines()
    assert sentence.startswith("aggregator: ")
    assert list(cwd.glob("*.db")) == []
    return sentence


def test_without_the_extra_it_is_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    (blocked / "opentelemetry").mkdir(parents=True)
    (blocked / "opentelemetry" / "__init__.py").write_text("raise ImportError('not installed')\n")
    path = environment().get("PYTHONPATH", "")
    sentence = refused(tmp_path, PYTHONPATH=f"{blocked}:{path}" if path else str(blocked))
    assert "--tracing otlp needs OpenTelemetry" in sentence
    assert "pip install" in sentence


def test_a_variable_that_can_t_be_used_is_one_sentence(tmp_path: Path) -> None:
    sentence = refused(tmp_path, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'" in sentence

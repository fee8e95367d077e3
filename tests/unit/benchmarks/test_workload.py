"""The events that are measured with are what the workload says, and what is new is known."""

import json
import sys
from pathlib import Path

import pytest

from aggregator.wire.event_rules import Limits
from aggregator.wire.publish_body import parse_publish

sys.path.append(str(Path(__file__).parents[3]))
from benchmarks.matrix import ROWS
from benchmarks.workload import Workload, batches


@pytest.mark.parametrize(
    "workload",
    [
        Workload(),
        Workload(batch=1, duplicates=0),
        Workload(batch=7, duplicates=0.9, topics=1000, ids="uuid7", payload_bytes=2000),
    ],
)
def test_a_workload_is_what_it_says(workload: Workload) -> None:
    made = list(batches(workload, 3003))
    rows = [row for batch in made for row in batch.rows]
    keys = {(row.topic, row.event_id) for row in rows}
    assert len(rows) == 3003
    assert sum(batch.new for batch in made) == len(keys)
    assert len(set(rows)) == len(keys), "an event that came twice was not the same"
    assert abs(1 - len(keys) / len(rows) - workload.duplicates) < 0.05
    assert len({row.topic for row in rows}) <= workload.topics
    assert {len(row.payload) for row in rows} == {workload.payload_bytes}
    assert [len(batch.rows) for batch in made[:-1]] == [workload.batch] * (len(made) - 1)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_body_is_what_a_publisher_would_send(batch: int) -> None:
    (made,) = batches(Workload(batch=batch), batch)
    body = made.body()
    parsed = parse_publish(body, ndjson=False, lenient=False, limits=Limits(10**6, 10, 10**6))
    assert [
        (event.topic, event.event_id, event.timestamp_us, event.source, event.payload)
        for event in parsed.events
    ] == made.rows
    assert isinstance(json.loads(body), dict if batch == 1 else list)


def test_the_matrix_changes_the_standard_workload_in_one_respect_at_a_time() -> None:
    standard, *changed = [row.workload for row in ROWS]
    assert standard == Workload()
    seen: dict[str, set[object]] = {}
    for workload in changed:
        ((field, value),) = workload._asdict().items() - standard._asdict().items()
        seen.setdefault(field, {standard._asdict()[field]}).add(value)
    assert seen == {
        "batch": {1, 10, 100, 1000},
        "connections": {1, 4, 16, 64, 256},
        "duplicates": {0, 0.3, 0.9},
        "topics": {1, 8, 1000},
        "ids": {"uuid4", "uuid7"},
        "payload_bytes": {150, 2_000, 50_000},
    }

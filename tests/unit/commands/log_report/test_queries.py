"""What a report says of lines whose right answer is known."""

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.log_lines import flush, request, suppressed, warning

from aggregator.commands.log_report.duckdb_lines import CannotReport, loaded
from aggregator.commands.log_report.queries import Section, sections, summary


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "aggregator.log"


def asked(log: Path, lines: Sequence[str]) -> dict[str, Section]:
    """The sections of a report, by the first word of their titles."""
    log.write_text("".join(f"{line}\n" for line in lines))
    with loaded([log]) as read:
        return {section.title.split(",")[0]: section for section in sections(read)}


def rows(section: Section) -> list[dict[str, Any]]:
    return [dict(zip(section.answer.columns, row, strict=True)) for row in section.answer.rows]


def test_events_are_summed_by_topic_and_in_all(log: Path) -> None:
    found = asked(
        log,
        [
            flush(0, a={"stored": 2, "duplicate": 1}, b={"conflict": 1}),
            flush(1, a={"stored": 1, "conflict": 2}),
            warning(2, "flush_failed", events=5, requests=1, reason="gone"),
        ],
    )
    assert [tuple(row.values()) for row in rows(found["Events"])] == [
        ("a", 6, 3, 3, 2),
        ("b", 1, 0, 1, 1),
        ("total", 7, 3, 4, 3),
    ]
    (flushes,) = rows(found["Flushes"])
    assert (flushes["flushes"], flushes["events"], flushes["max events"]) == (2, 7, 4)


def test_of_many_topics_the_largest_are_shown_and_all_are_in_the_total(log: Path) -> None:
    lines = [flush(n, **{f"t-{n}": {"stored": n + 1}}) for n in range(30)]
    section = asked(log, lines)["Events"]
    assert len(section.answer.rows) == 21
    assert section.answer.rows[0] == ("t-29", 30, 30, 0, 0)
    assert section.answer.rows[-1] == ("total", 465, 465, 0, 0)
    assert section.note == "the 20 largest of 30 topics"


def test_percentiles_are_close_to_the_exact_ones(log: Path) -> None:
    chance = random.Random(3)
    durations = sorted(chance.expovariate(0.1) for _ in range(20_000))
    mixed = durations[:]
    chance.shuffle(mixed)
    lines = [request(number / 100, each) for number, each in enumerate(mixed)]
    lines += [request(number, 1.0, path=f"/events/t/{number}") for number in range(30)]
    publishes, events = rows(asked(log, lines)["Latency"])
    assert (publishes["path"], publishes["requests"]) == ("/publish", 20_000)
    for name, share in (("p50 ms", 0.5), ("p90 ms", 0.9), ("p99 ms", 0.99)):
        assert publishes[name] == pytest.approx(durations[int(share * 20_000)], rel=0.03)
    assert publishes["max ms"] == pytest.approx(durations[-1], abs=0.01)
    assert (events["path"], events["requests"]) == ("/events/{topic}/{event_id}", 30)


def test_waits_are_a_path_of_their_own_and_none_of_the_slowest(log: Path) -> None:
    lines = [request(n, 60_000.0, path="/events", wait=True) for n in range(3)]
    lines += [request(n, 5.0, path="/events") for n in range(2)]
    found = asked(log, lines)
    assert {row["path"]: row["requests"] for row in rows(found["Latency"])} == {
        "/events (wait)": 3,
        "/events": 2,
    }
    assert [row["ms"] for row in rows(found["Slowest requests"])] == [5.0, 5.0]


def test_streams_are_a_path_of_their_own_and_none_of_the_slowest(log: Path) -> None:
    lines = [request(n, 60_000.0, path="/events", complete=False) for n in range(3)]
    lines += [request(n, 5.0, path="/events") for n in range(2)]
    found = asked(log, lines)
    assert {row["path"]: row["requests"] for row in rows(found["Latency"])} == {
        "/events (stream)": 3,
        "/events": 2,
    }
    assert [row["ms"] for row in rows(found["Slowest requests"])] == [5.0, 5.0]


def test_throughput_has_steps_that_fit_the_time(log: Path) -> None:
    short = asked(log, [flush(n / 2, a={"stored": 1}) for n in range(20)])
    assert len(rows(short["Throughput"])) == 10
    assert rows(short["Throughput"])[0] == {
        "from": "2026-01-31 12:00:00", "events": 2, "events/s": 2.0, "requests": 0, "refused": 0,
    }  # fmt: skip
    days = asked(log, [flush(n * 3600, a={"stored": 1}) for n in range(100)])
    assert 1 < len(rows(days["Throughput"])) <= 61


@pytest.mark.parametrize(
    "counts",
    [
        {"suppressed": 40, "left_out_before": 40},
        pytest.param({"left_out_before": 40}, id="of an older aggregator"),
        pytest.param({"suppressed": 40}, id="of a newer one"),
    ],
)
def test_refused_requests_without_a_line_are_counted(log: Path, counts: dict[str, int]) -> None:
    lines = [request(0, 0.1, status=503), request(0.5, 0.1, status=503, **counts)]
    (step,) = rows(asked(log, lines)["Throughput"])
    assert (step["requests"], step["refused"]) == (2, 42)


def test_refused_requests_at_the_end_of_a_burst_are_counted(log: Path) -> None:
    lines = [
        request(0, 1.0),
        request(0, 0.1, status=503),
        request(0.5, 0.1, status=503, suppressed=40),
        suppressed(0.9, "request", 900),
        suppressed(0.9, "conflict", 70, level="warning"),
    ]
    found = asked(log, lines)
    (step,) = rows(found["Throughput"])
    assert (step["requests"], step["refused"]) == (3, 942)
    assert rows(found["Requests"]) == [
        {"status": 200, "requests": 1},
        {"status": 503, "requests": 942},
    ]
    (trouble,) = rows(found["Warnings and errors"])
    assert (trouble["event"], trouble["what"]) == ("log_lines_suppressed", "conflict")


def test_the_slowest_come_first_with_the_id_to_find_them_by(log: Path) -> None:
    lines = [request(n, float(n % 50), request_id=f"id-{n}") for n in range(99)]
    lines.append(request(99, 49.0, request_id="id-99", trace_id="a" * 32))
    slowest = rows(asked(log, lines)["Slowest requests"])
    assert len(slowest) == 10
    assert [row["request_id"] for row in slowest[:3]] == ["id-49", "id-99", "id-48"]
    assert [row["trace_id"] for row in slowest[:3]] == [None, "a" * 32, None]
    assert slowest[0]["at"] == "2026-01-31 12:00:49.000"


def test_trouble_is_counted_by_what_it_is(log: Path) -> None:
    lines = [
        warning(0, "conflict", topic="a", event_id="1"),
        warning(5, "conflict", topic="a", event_id="2"),
        warning(6, "storage_unavailable", reason="gone"),
        request(7, 1.0),
    ]
    found = rows(asked(log, lines)["Warnings and errors"])
    assert [(row["event"], row["what"], row["lines"]) for row in found] == [
        ("conflict", "a", 2),
        ("storage_unavailable", "gone", 1),
    ]
    assert (found[0]["first"], found[0]["last"]) == ("2026-01-31 12:00:00", "2026-01-31 12:00:05")


def test_lines_that_are_none_are_counted_and_passed_over(log: Path) -> None:
    good = [request(0, 1.0), flush(1, a={"stored": 3})]
    foreign = [
        b"Traceback (most recent call last):",
        b'{"event": "flush", "events": 9, "topics": {"a": {"stored"',
        b"\xff\xfe\x00",
        b'["event"]',
        b"12",
        b'{"message": "of another program"}',
        b'"event"',
    ]
    odd = [
        b'{"event": "flush", "events": "many", "topics": [1], "timestamp": 5, "duration_ms": {}}',
        b'{"event": "request", "status": "fine", "duration_ms": "slow", "path": 7}',
        b'{"event": "flush", "events": 1, "topics": {"a": 3}}',
    ]
    log.write_bytes(b"\n".join([*(line.encode() for line in good), *foreign, *odd]) + b"\n")
    with loaded([log]) as read:
        told = summary(read)
        found = {section.title.split(",")[0]: section for section in sections(read)}
    assert told.lines - told.foreign == len(good) + len(odd)
    assert told.foreign == len(foreign)
    assert rows(found["Events"])[-1]["received"] == 3


@pytest.mark.parametrize("text", ["", "nothing here\n", "{}\n"])
def test_a_log_of_something_else_is_said_to_be_one(log: Path, text: str) -> None:
    log.write_text(text)
    with loaded([log]) as read, pytest.raises(CannotReport, match="none is a JSON log line"):
        summary(read)


def test_without_duckdb_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(CannotReport, match="pip install duckdb"), loaded([]):
        pass


def test_event_is_reported_by_its_new_name_whoever_wrote_it(log: Path) -> None:
    names = ("answer_cut_off", "response_aborted")
    lines = [warning(n, name, reason="slow") for n, name in enumerate(names)]
    (trouble,) = rows(asked(log, lines)["Warnings and errors"])
    assert (trouble["event"], trouble["lines"]) == ("response_aborted", 2)

"""What a report asks of the log lines, and in what words."""

from collections.abc import Iterator
from typing import NamedTuple

from aggregator.commands.log_report.duckdb_lines import Answer, CannotReport, LogLines

MAX_ROWS = 20
_MAX_STEPS = 60
_STEPS_S = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 6 * 3600, 24 * 3600)

_THROUGHPUT = """
SELECT strftime(time_bucket(to_seconds($step), logged_at), '%Y-%m-%d %H:%M:%S') AS "from",
       sum(events) FILTER (event = 'flush') AS events,
       round(sum(events) FILTER (event = 'flush') / $step, 1) AS "events/s",
       count(*) FILTER (event = 'request') AS requests,
       count(*) FILTER (event = 'request' AND status = 503) + sum(suppressed) AS refused
FROM lines WHERE logged_at IS NOT NULL AND counted_event IN ('flush', 'request')
GROUP BY ALL ORDER BY 1"""

# One event has one path, whatever its topic and id. A wait lasts as long as nothing comes, a
# stream as long as its reader takes or follows.
_LATENCY = """
SELECT CASE WHEN starts_with(path, '/events/') THEN '/events/{topic}/{event_id}'
            WHEN wait THEN path || ' (wait)'
            WHEN stream THEN path || ' (stream)' ELSE path END AS path,
       count(*) AS requests,
       round(approx_quantile(duration_ms, 0.5), 2) AS "p50 ms",
       round(approx_quantile(duration_ms, 0.9), 2) AS "p90 ms",
       round(approx_quantile(duration_ms, 0.99), 2) AS "p99 ms",
       round(approx_quantile(duration_ms, 0.999), 2) AS "p99.9 ms",
       round(max(duration_ms), 2) AS "max ms"
FROM lines WHERE event = 'request' AND isfinite(duration_ms)
GROUP BY 1 ORDER BY requests DESC LIMIT $max_rows"""

_VERDICTS = """
WITH flushed AS (
    SELECT unnest(map_entries(topics)) AS entry FROM lines WHERE event = 'flush'),
counted AS (
    SELECT entry.key AS topic,
           sum(coalesce(entry.value.stored, 0)) AS stored,
           sum(coalesce(entry.value.duplicate, 0)) AS "duplicate",
           sum(coalesce(entry.value.conflict, 0)) AS "conflict"
    FROM flushed GROUP BY 1)
SELECT topic, stored + "duplicate" + "conflict" AS received, stored AS unique_processed,
       "duplicate" + "conflict" AS duplicate_dropped, "conflict" AS conflicts
FROM counted ORDER BY received DESC, topic"""

_SLOWEST = """
SELECT strftime(logged_at, '%Y-%m-%d %H:%M:%S.%g') AS "at", round(duration_ms, 2) AS ms,
       status, path, request_id, trace_id
FROM lines WHERE event = 'request' AND isfinite(duration_ms) AND NOT wait AND NOT stream
ORDER BY duration_ms DESC, logged_at LIMIT 10"""

_FLUSHES = """
SELECT count(*) AS flushes, sum(events) AS events, round(avg(events), 1) AS "events each",
       approx_quantile(events, 0.5)::BIGINT AS "p50 events", max(events) AS "max events",
       round(avg(requests), 1) AS "requests each",
       round(approx_quantile(duration_ms, 0.5), 2) AS "p50 ms",
       round(approx_quantile(duration_ms, 0.99), 2) AS "p99 ms",
       round(max(duration_ms), 2) AS "max ms"
FROM lines WHERE event = 'flush' HAVING count(*) > 0"""

# Only lines about refused requests are suppressed, and counted in another line.
_STATUSES = """
SELECT status, sum(requests)::BIGINT AS requests
FROM (SELECT status, count(*) AS requests FROM lines WHERE event = 'request' GROUP BY 1
      UNION ALL
      SELECT 503, sum(suppressed) FROM lines WHERE counted_event = 'request'
      HAVING sum(suppressed) > 0)
GROUP BY 1 ORDER BY 1"""

_TROUBLE = """
SELECT level, event,
       coalesce(reason, topic, nullif(counted_event, event), '') AS what, count(*) AS lines,
       strftime(min(logged_at), '%Y-%m-%d %H:%M:%S') AS first,
       strftime(max(logged_at), '%Y-%m-%d %H:%M:%S') AS last
FROM lines WHERE level IN ('warning', 'error', 'critical')
GROUP BY 1, 2, 3 ORDER BY lines DESC, event, what LIMIT $max_rows"""


class Section(NamedTuple):
    """One question of the report and its answer; `note` says what the answer leaves out."""

    title: str
    answer: Answer
    note: str = ""


class Summary(NamedTuple):
    """Counts of the lines that were read: all, those of other programs, and their time span."""

    lines: int
    foreign: int
    first: str
    last: str


def summary(log: LogLines) -> Summary:
    """What was read.

    Raises:
        CannotReport: there is not one line of an aggregator.
    """
    ((lines, ours, first, last),) = log.ask(
        "SELECT count(*), count(event), coalesce(min(logged_at)::VARCHAR, '?'), "
        "coalesce(max(logged_at)::VARCHAR, '?') FROM lines"
    ).rows
    if not ours:
        raise CannotReport(
            f"of {lines} lines none is a JSON log line of the aggregator; it writes them with "
            "--log-format json, or when its output is not a terminal"
        )
    return Summary(lines, lines - ours, first, last)


def sections(log: LogLines) -> Iterator[Section]:
    """Every question and its answer, in the order in which they are shown."""
    step_s = _step_s(log)
    yield Section(f"Throughput, by {_span(step_s)}", log.ask(_THROUGHPUT, step=step_s))
    yield Section(
        "Latency, by path",
        log.ask(_LATENCY, max_rows=MAX_ROWS),
        "percentiles are estimates",
    )
    yield _verdicts(log)
    yield Section("Flushes", log.ask(_FLUSHES))
    yield Section("Requests, by status", log.ask(_STATUSES))
    yield Section("Slowest requests", log.ask(_SLOWEST))
    yield Section("Warnings and errors", log.ask(_TROUBLE, max_rows=MAX_ROWS))


def _verdicts(log: LogLines) -> Section:
    columns, rows = log.ask(_VERDICTS)
    total = ("total", *(sum(row[place] for row in rows) for place in range(1, 5)))
    note = "" if len(rows) <= MAX_ROWS else f"the {MAX_ROWS} largest of {len(rows):,} topics"
    shown = [*rows[:MAX_ROWS], total] if rows else []
    return Section("Events, by topic", Answer(columns, shown), note)


def _step_s(log: LogLines) -> int:
    seconds = log.one("SELECT coalesce(epoch(max(logged_at) - min(logged_at)), 0) FROM lines")
    return next((step for step in _STEPS_S if seconds / step <= _MAX_STEPS), _STEPS_S[-1])


def _span(step_s: int) -> str:
    for unit, length_s in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if step_s >= length_s:
            count = step_s // length_s
            return unit if count == 1 else f"{count} {unit}s"
    return "second" if step_s == 1 else f"{step_s} seconds"

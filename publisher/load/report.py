"""The report of a run, as a table in plain text and as JSON."""

from dataclasses import asdict, dataclass

from publisher.load.findings import CHECKS, Findings
from publisher.load.measurements import Measurements, quantiles
from publisher.load.plan import Shape
from publisher.load.stats_check import CountIncrease, StatsCheck
from publisher.load.verdict_check import VerdictCheck

_MAX_REASONS = 10
_LABEL_CHARACTERS = 13


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of a run by their names on the command line; sizes in events and bytes."""

    url: str
    run: str
    events: int
    duplicates: float
    conflicts: float
    batch: int
    concurrency: int
    topics: tuple[str, ...]
    seed: int
    rate: float | None
    payload_bytes: int
    ids: str
    deadline: float


@dataclass(slots=True)
class Report:
    """The results of a run.

    Args:
        settings: the options of the run, without the user and the password of its URL.
        shape: the numbers of its plan.
        backend: the aggregator's backend.
        verdicts: the verdicts.
        measurements: latencies and retries.
        findings: the differences.
        stats_check: the check of /stats during the run.
        increase: the increase of the counts, None if they were not compared.
        read_back: the number of events of the log that were read.
        ended: why the run ended early, one sentence; None if every request was answered.
    """

    settings: Settings
    shape: Shape
    backend: str
    verdicts: VerdictCheck
    measurements: Measurements
    findings: Findings
    stats_check: StatsCheck
    increase: CountIncrease | None = None
    read_back: int = 0
    ended: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether every check was made and none found a difference."""
        return self.ended is None and self.findings.total == 0


def as_json(report: Report) -> dict[str, object]:
    """Return a report as an object for JSON, with latencies in milliseconds."""
    shape, verdicts, measured = report.shape, report.verdicts, report.measurements
    return {
        "agrees": report.agrees,
        "ended_early": report.ended,
        "backend": report.backend,
        "settings": asdict(report.settings),
        "planned": {
            "events": shape.events,
            "requests": shape.requests,
            "unique": shape.unique,
            "duplicates": shape.duplicates,
            "conflicts": shape.conflicts,
        },
        "answered": {"events": verdicts.events, "requests": verdicts.requests},
        "verdicts": {
            "stored": verdicts.stored,
            "duplicate": verdicts.duplicates,
            "conflict": verdicts.conflicts,
            "rejected": verdicts.rejected,
        },
        "counts": report.increase._asdict() if report.increase else None,
        "elapsed_s": measured.elapsed_s,
        "events_per_s": measured.events_per_s,
        "latency_ms": _milliseconds(quantiles(measured.latency_s)),
        "service_ms": _milliseconds(quantiles(measured.service_s)),
        "retries": {"total": measured.retries.total(), "reasons": dict(measured.retries)},
        "stats_seen": report.stats_check.responses,
        "stats_missed": report.stats_check.missed,
        "read_back": report.read_back,
        "checks": report.findings.checks,
        "differences": [finding._asdict() for finding in report.findings.listed],
        "differences_total": report.findings.total,
        "series": [
            {
                "second": second.second,
                "events": second.events,
                "requests": second.requests,
                "retries": second.retries,
                "p50_ms": None if second.p50_s is None else second.p50_s * 1000,
                "p99_ms": None if second.p99_s is None else second.p99_s * 1000,
            }
            for second in measured.series()
        ],
    }


def as_text(report: Report, tick: str = "✓", cross: str = "✗") -> str:
    """Return a report as a table, several lines of plain text.

    Args:
        report: the report.
        tick: the mark of a check that found no difference.
        cross: the mark of a check that found one.
    """
    verdicts, measured = report.verdicts, report.measurements
    lines = [*_settings_rows(report), ""]
    lines.append(
        _row(
            "throughput",
            f"{measured.events_per_s:,.0f} events/s "
            f"({verdicts.events:,} events in {measured.elapsed_s:,.1f} s)",
        )
    )
    lines.append(_row("latency", _shown(quantiles(measured.latency_s))))
    if report.settings.rate is not None:
        lines.append(_row("service time", _shown(quantiles(measured.service_s))))
    lines.append(
        _row(
            "verdicts",
            f"stored {verdicts.stored:,}   duplicate {verdicts.duplicates:,}   "
            f"conflict {verdicts.conflicts:,}   rejected {verdicts.rejected:,}",
        )
    )
    lines.append(_row("retries", f"{measured.retries.total():,}"))
    reasons = measured.retries.most_common(_MAX_REASONS)
    lines += [_row("", f"{count:,} {reason}") for reason, count in reasons]
    if more := len(measured.retries) - len(reasons):
        lines.append(_row("", f"and {more:,} other reasons"))
    if increase := report.increase:
        lines.append(_row("received", _with_lost(increase.received, increase.lost_received)))
        lines.append(_row("conflicts", _with_lost(increase.conflicts, increase.lost_conflicts)))
    stats = report.stats_check
    missed = f", {stats.missed:,} times without an answer" if stats.missed else ""
    lines.append(_row("/stats", f"checked {stats.responses:,} times{missed}"))
    lines.append(_row("log", f"{report.read_back:,} events read back"))
    lines.append("")
    for check, found in report.findings.checks.items():
        mark, count = (cross, f": {_counted(found, 'difference')}") if found else (tick, "")
        lines.append(f"{mark} {CHECKS[check]}{count}")
    if report.ended:
        lines += ["", f"The run ended early, so this is not all: {report.ended}"]
    if report.findings.total:
        lines += ["", f"{_counted(report.findings.total, 'difference').capitalize()}:"]
        lines += [f"- {finding.sentence}" for finding in report.findings.listed]
        if unlisted := report.findings.total - len(report.findings.listed):
            lines.append(f"- and {unlisted:,} more")
    return "\n".join(lines)


def _settings_rows(report: Report) -> list[str]:
    settings, shape = report.settings, report.shape
    loop = "closed loop" if settings.rate is None else f"open loop, {settings.rate:,g} events/s"
    return [
        _row("run", f"{settings.run}, seed {settings.seed}, ids {settings.ids}"),
        _row("aggregator", f"{settings.url} on {report.backend}"),
        _row(
            "plan",
            f"{shape.events:,} events: {shape.unique:,} new, {shape.duplicates:,} duplicates, "
            f"{shape.conflicts:,} conflicts",
        ),
        _row(
            "",
            f"{_counted(shape.requests, 'request')} of {shape.batch:,}, "
            f"{_counted(settings.concurrency, 'connection')}, {loop}",
        ),
    ]


def _with_lost(total: int, lost: int) -> str:
    if not lost:
        return f"{total:,}, as sent"
    return f"{total:,} = {total - lost:,} sent + {lost:,} of tries whose answer was lost"


def _row(label: str, text: str) -> str:
    return f"{label:<{_LABEL_CHARACTERS}}{text}"


def _shown(seconds: dict[str, float]) -> str:
    if not seconds:
        return "no request was answered"
    return "   ".join(f"{name} {value * 1000:,.1f} ms" for name, value in seconds.items())


def _milliseconds(seconds: dict[str, float]) -> dict[str, float]:
    return {name: value * 1000 for name, value in seconds.items()}


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

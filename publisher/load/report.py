"""What is told of a run: the closing table, and the same figures as JSON."""

from dataclasses import asdict, dataclass

from publisher.load.findings import CHECKS, Findings
from publisher.load.measurements import Measurements, quantiles
from publisher.load.plan import Shape
from publisher.load.stats_check import Rise, StatsSeen
from publisher.load.verdict_check import Told

_MOST_REASONS = 10
_LABEL_CHARACTERS = 13


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for, as the command line names it; sizes in events and bytes."""

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
    """All that is known of a run.

    ended: why it ended early, one sentence; None if every request was answered and compared.
    rise: None when the counts were not compared. read_back: so many events of the log were read.
    """

    settings: Settings
    shape: Shape
    backend: str
    told: Told
    measurements: Measurements
    findings: Findings
    stats_seen: StatsSeen
    rise: Rise | None = None
    read_back: int = 0
    ended: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether every check was made and nothing is off."""
        return self.ended is None and self.findings.total == 0


def as_json(report: Report) -> dict[str, object]:
    """Give a report as JSON has it; latencies in milliseconds."""
    shape, told, measured = report.shape, report.told, report.measurements
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
        "answered": {"events": told.events, "requests": told.requests},
        "verdicts": {
            "stored": told.stored,
            "duplicate": told.duplicates,
            "conflict": told.conflicts,
            "rejected": told.rejected,
        },
        "counts": report.rise._asdict() if report.rise else None,
        "elapsed_s": measured.elapsed_s,
        "events_per_s": measured.events_per_s,
        "latency_ms": _milliseconds(quantiles(measured.latency_s)),
        "service_ms": _milliseconds(quantiles(measured.service_s)),
        "retries": {"total": measured.retries.total(), "reasons": dict(measured.retries)},
        "stats_seen": report.stats_seen.seen,
        "stats_missed": report.stats_seen.missed,
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
    """Give the closing table, several lines of plain text."""
    told, measured = report.told, report.measurements
    lines = [*_what_was_asked(report), ""]
    lines.append(
        _row(
            "throughput",
            f"{measured.events_per_s:,.0f} events/s "
            f"({told.events:,} events in {measured.elapsed_s:,.1f} s)",
        )
    )
    lines.append(_row("latency", _shown(quantiles(measured.latency_s))))
    if report.settings.rate is not None:
        lines.append(_row("service time", _shown(quantiles(measured.service_s))))
    lines.append(
        _row(
            "verdicts",
            f"stored {told.stored:,}   duplicate {told.duplicates:,}   "
            f"conflict {told.conflicts:,}   rejected {told.rejected:,}",
        )
    )
    lines.append(_row("retries", f"{measured.retries.total():,}"))
    reasons = measured.retries.most_common(_MOST_REASONS)
    lines += [_row("", f"{count:,} {reason}") for reason, count in reasons]
    if more := len(measured.retries) - len(reasons):
        lines.append(_row("", f"and {more:,} other reasons"))
    if report.rise:
        lines.append(_row("received", _with_lost(report.rise.received, report.rise.lost_received)))
        lines.append(
            _row("conflicts", _with_lost(report.rise.conflicts, report.rise.lost_conflicts))
        )
    seen = report.stats_seen
    missed = f", {seen.missed:,} times without an answer" if seen.missed else ""
    lines.append(_row("/stats", f"seen {seen.seen:,} times{missed}"))
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


def _what_was_asked(report: Report) -> list[str]:
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


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"

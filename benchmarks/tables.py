"""The tables of the measurements in Markdown: medians, and the least and the greatest value."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.measuring import Measured
from benchmarks.rounds import Part

_COLUMNS = {
    "p50 / p99 / p99.9 ms": ("p50_ms", "p99_ms", "p999_ms"),
    "greatest ms": ("max_ms",),
    "start to ready, ms": ("start_ms",),
    "sent late, p99 ms": ("late_p99_ms",),
    "reads/s": ("reads_s",),
    "reads, p50 / p99 ms": ("reads_p50_ms", "reads_p99_ms"),
    "CPU s a million (generator)": ("cpu_s_per_million", "generator_cpu_s_per_million"),
    "CPU s a million, all processes": ("all_cpu_s_per_million",),
    "MiB": ("resident_mib",),
    "MiB, sum of each process's peak": ("high_water_mib",),
    "bytes each": ("bytes_per_event",),
    "MiB/s to all readers": ("mib_s",),
    "CPU s of the shipper": ("shipper_cpu_s",),
    "KiB a stream": ("stream_kib",),
    "answered 503": ("refused",),
}


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the median with the least and the greatest value as text."""
    middle, least, greatest = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({least:,.{digits}f}-{greatest:,.{digits}f})"


def table(part: Part) -> str:
    """Return the tables of a part: its figures, its ratios and its missing measurements."""
    medians = {name: _medians(each) for name, each in part.measurements.items()}
    columns = {
        title: fields
        for title, fields in _COLUMNS.items()
        if any(median[field] for median in medians.values() for field in fields)
    }
    lines = [part.overview, ""] if part.overview else []
    lines += head(["", "events/s", *columns])
    for name, each in part.measurements.items():
        shown = [_shown(medians[name][field] for field in fields) for fields in columns.values()]
        rates = [measured.events_s for measured in each]
        lines.append(row([name, spread(rates, 0) if any(rates) else "", *shown]))
    compared = [(pair, part.ratios(*pair)) for pair in part.beside]
    if any(ratios for _, ratios in compared):
        lines += ["", *head(["ratio of events/s", "median (least-greatest)"])]
        lines += [
            row([f"{name} / {ceiling}", spread(ratios)])
            for (name, ceiling), ratios in compared
            if ratios
        ]
    lines += [f"\n{name}: not measured: {why}" for name, why in part.missing.items()]
    lines += [f"\n{note}" for note in part.notes]
    return "\n".join(lines)


def head(cells: list[str]) -> list[str]:
    """Return the first two lines of a table."""
    return [row(cells), "|" + "---|" * len(cells)]


def row(cells: list[str]) -> str:
    """Return a line of a table."""
    return "| " + " | ".join(cells) + " |"


def _medians(each: Sequence[Measured]) -> Mapping[str, float | None]:
    columns = zip(Measured._fields, zip(*each, strict=True), strict=True)
    return {name: None if None in values else statistics.median(values) for name, values in columns}


def _shown(values: Iterable[float | None]) -> str:
    return " / ".join("" if value is None else _number(value) for value in values).strip(" /")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

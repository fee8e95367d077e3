"""The charts of the benchmark: the standard workload and the peers, growth, latency."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import growth, latency, standard
from benchmarks.measuring import Measured
from benchmarks.rounds import Part, Say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 120
_BLUE, _ORANGE, _GREY, _RED = "#1f5fa8", "#d97706", "#9ca3af", "#c0262d"
_PERCENTILES = {"p50": "p50_ms", "p99": "p99_ms", "p99.9": "p999_ms", "greatest": "max_ms"}
_COLOURS = {"SQLite": _BLUE, "Postgres": _ORANGE}
_DASHES = {"uuid4": "--", "uuid7": "-"}


def draw(parts: Mapping[str, Part], directory: Path, say: Say) -> None:
    """Write the charts throughput.png, growth.png and latency.png, as far as their parts were run.

    Without matplotlib it says so and writes nothing.

    Raises:
        OSError: a file can't be written.
    """
    try:
        import matplotlib.figure  # noqa: F401 - figures can be had without it
    except ImportError:
        say("no charts: matplotlib is not installed")
        return
    rates = [parts[name] for name in ("standard", "peers") if name in parts]
    if rates:
        _save(_throughput(rates), directory / "throughput.png")
    if "growth" in parts:
        _save(_growth(parts["growth"]), directory / "growth.png")
    if "latency" in parts:
        _save(_latency(parts["latency"]), directory / "latency.png")


def _save(figure: "Figure", path: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=_DOTS_PER_INCH)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _throughput(parts: list[Part]) -> "Figure":
    measured: dict[str, list[float]] = {}
    for part in parts:
        for name, each in part.measurements.items():
            # It stores nothing and is far off: beside it the others would be hard to tell apart.
            if name != standard.HANDLER:
                measured.setdefault(name, []).extend(one.events_s for one in each)
    single = {name: rates for name, rates in measured.items() if name.endswith("single events")}
    many = {name: rates for name, rates in measured.items() if name not in single}
    figure = _figure(10, 1.5 + 0.36 * len(measured))
    above, below = figure.subplots(2, 1, height_ratios=[len(many), len(single) or 1])
    _bars(above, many)
    _bars(below, single)
    below.set_xlabel("events/s: the median, and from the least to the greatest")
    return figure


def _bars(axes: "Axes", measured: Mapping[str, list[float]]) -> None:
    names = list(measured)[::-1]
    medians = [statistics.median(measured[name]) for name in names]
    colours = [_COLOURS.get(name.split(",")[0], _GREY) for name in names]
    axes.barh(names, medians, color=colours)
    for row, (name, median) in enumerate(zip(names, medians, strict=True)):
        least, greatest = min(measured[name]), max(measured[name])
        axes.plot([least, greatest], [row, row], color="black")
        axes.annotate(
            f"{median:,.0f}", (greatest, row), (6, 0), textcoords="offset points", va="center"
        )
    axes.margins(x=0.2)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _growth(part: Part) -> "Figure":
    figure = _figure(10, 9)
    rates, latencies, memory = figure.subplots(3, 1, sharex=True)
    for backend in growth.BACKENDS:
        for ids in growth.KINDS_OF_ID:
            taken = growth.stretches(part, backend, ids)
            if not taken:
                continue
            _line(rates, taken, "events_s", backend, ids)
            _line(latencies, taken, "p99_ms", backend, ids)
            _line(memory, taken, "resident_mib", backend, ids)
    rates.set_ylabel("events/s")
    latencies.set_ylabel("p99 of a batch (ms)")
    memory.set_ylabel("memory of the aggregator (MiB)")
    memory.set_xlabel("events stored, millions")
    for axes in (rates, latencies, memory):
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, color="#dddddd", linewidth=0.6)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    rates.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def _line(axes: "Axes", taken: dict[int, Measured], field: str, backend: str, ids: str) -> None:
    axes.plot(
        [end / 1e6 for end in taken],
        [getattr(measured, field) for measured in taken.values()],
        color=_COLOURS[backend],
        linestyle=_DASHES[ids],
        marker=".",
        label=f"{backend}, {ids}",
    )


def _latency(part: Part) -> "Figure":
    figure = _figure(10, 4)
    for axes, backend in zip(
        figure.subplots(1, len(latency.BACKENDS), sharey=True), latency.BACKENDS, strict=True
    ):
        for name, label, colour in (
            (latency.half_load(backend), backend, _COLOURS[backend]),
            (latency.handler_at(backend), "bare handler", _GREY),
        ):
            taken = part.measurements[name]
            medians = [
                statistics.median(getattr(measured, field) for measured in taken)
                for field in _PERCENTILES.values()
            ]
            axes.plot(list(_PERCENTILES), medians, color=colour, marker="o", label=label)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.grid(visible=True, color="#dddddd", linewidth=0.6)
        axes.set_title(f"half of the highest load of {backend}")
        axes.legend(frameon=False)
    figure.axes[0].set_ylabel("latency of a single publish (ms)")
    return figure

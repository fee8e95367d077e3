"""The chart of a run: throughput, latency and retries over time."""

import html
import io
from math import ceil, floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

from publisher.load.measurements import Second
from publisher.load.report import Report, as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".html", ".png")

_INCHES = (10, 6)
_DOTS_PER_INCH = 120
_LINE_STYLE: dict[str, Any] = {"marker": ".", "markersize": 4, "linewidth": 1.2}
_CROSS_STYLE: dict[str, Any] = {"marker": "x", "linestyle": "none", "clip_on": False}
_BLUE, _ORANGE, _RED = "#1f5fa8", "#d97706", "#c0262d"
_MIN_BAR_S = 0.2
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem }}
svg {{ height: auto; width: 100% }}
pre {{ overflow-x: auto; white-space: pre-wrap }}
</style>
</head>
<body>
<h1>{title}</h1>
{svg}
<pre>{table}</pre>
</body>
</html>
"""


class NoMatplotlib(Exception):
    """The chart can't be drawn; the message is one sentence that says what to install."""

    def __init__(self) -> None:
        super().__init__("--chart needs matplotlib: pip install matplotlib")


def check_possible() -> None:
    """Check that a chart can be drawn.

    Raises:
        NoMatplotlib: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401 - an optional dependency
    except ImportError as error:
        raise NoMatplotlib from error


def write(report: Report, path: Path) -> None:
    """Write the chart of a run.

    Args:
        report: the report of the run.
        path: the file: a picture if its name ends in .png, else a page that needs no other file.

    Raises:
        NoMatplotlib: matplotlib is not installed.
        OSError: the file can't be written.
    """
    check_possible()
    figure = _figure(report)
    content = io.BytesIO()
    if path.suffix == ".png":
        figure.suptitle(_title(report))
        figure.savefig(content, format="png", dpi=_DOTS_PER_INCH)
        path.write_bytes(content.getvalue())
        return
    # Without its metadata, which names the page of matplotlib and the time.
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(content, format="svg", metadata=nothing)
    text = content.getvalue().decode()
    page = _PAGE.format(
        title=html.escape(_title(report)),
        svg=text[text.index("<svg") :],
        table=html.escape(as_text(report)),
    )
    path.write_text(page, encoding="utf-8")


def _title(report: Report) -> str:
    shape = report.shape
    return f"{shape.events:,} events in requests of {shape.batch:,}, stored in {report.backend}"


def _figure(report: Report) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, layout="constrained")
    throughput, latency = figure.subplots(2, 1, sharex=True)
    series = report.measurements.series()
    _draw_throughput(throughput, series, report)
    _draw_latency(latency, series)
    if sum(second.retries for second in series):
        _draw_retries(throughput, latency, series)
    for axes in (throughput, latency):
        axes.grid(visible=True, color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        # A run without a response has nothing to name, and matplotlib would warn about that.
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def _draw_throughput(axes: "Axes", series: list[Second], report: Report) -> None:
    rates = [float(second.events) for second in series]
    edges = [float(second.second) for second in series]
    if rates:
        # The last second is not a whole one.
        edges.append(max(report.measurements.elapsed_s, edges[-1] + _MIN_BAR_S))
        rates[-1] /= edges[-1] - edges[-2]
        axes.stairs(rates, edges, color=_BLUE, label="answered", fill=True, alpha=0.3)
        axes.stairs(rates, edges, color=_BLUE)
    if report.settings.rate is not None:
        axes.axhline(report.settings.rate, color=_ORANGE, linestyle="--", label="due")
    axes.set_ylabel("events/s")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _draw_latency(axes: "Axes", series: list[Second]) -> None:
    from matplotlib.ticker import NullFormatter

    axes.set_yscale("log")
    answered = [second for second in series if second.p50_s and second.p99_s]
    for label, color in (("p99", _ORANGE), ("p50", _BLUE)):
        values_ms = [(getattr(second, f"{label}_s") or 0.0) * 1000 for second in answered]
        middles = [second.second + 0.5 for second in answered]
        axes.plot(middles, values_ms, color=color, label=label, **_LINE_STYLE)
    low_ms, high_ms = axes.get_ylim()
    # To whole powers of ten: between them there is no tick with a number.
    axes.set_ylim(10.0 ** floor(log10(low_ms)), 10.0 ** ceil(log10(high_ms)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("latency (ms)")
    axes.set_xlabel("seconds since the start")


def _draw_retries(throughput: "Axes", latency: "Axes", series: list[Second]) -> None:
    retried = [second for second in series if second.retries]
    for axes in (throughput, latency):
        for second in retried:
            axes.axvspan(second.second, second.second + 1, color=_RED, alpha=0.12, linewidth=0)
    middles = [second.second + 0.5 for second in retried]
    zeros = [0] * len(retried)
    throughput.plot(middles, zeros, color=_RED, label="tried again", **_CROSS_STYLE)

"""A report as one page that needs no other file: the tables, and charts as SVG."""

import html
import io
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from aggregator.commands.log_report.duckdb_lines import CannotReport
from aggregator.commands.log_report.queries import Section, Summary
from aggregator.commands.log_report.text import cell, heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _RED = "#1f5fa8", "#d97706", "#c0262d"
_MOST_BARS = 12
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Aggregator log report</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem }}
svg {{ height: auto; max-width: 100% }}
table {{ border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums }}
td, th {{ border-bottom: 1px solid #ddd; padding: 0.15rem 0.6rem; text-align: left;
          overflow-wrap: anywhere }}
td.number, th.number {{ text-align: right; white-space: nowrap }}
.note {{ color: #666 }}
</style>
</head>
<body>
<h1>Aggregator log report</h1>
<p>{heading}</p>
{sections}
</body>
</html>
"""


def check_possible() -> None:
    """Raise CannotReport unless charts can be drawn."""
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 - only who wants a page has it
    except ImportError as error:
        raise CannotReport("--html needs matplotlib: pip install matplotlib") from error


def page(summary: Summary, sections: Sequence[Section]) -> str:
    """The page as text."""
    return _PAGE.format(
        heading=html.escape(heading(summary)),
        sections="\n".join(part for section in sections for part in _section(section)),
    )


def _section(section: Section) -> Iterator[str]:
    yield f"<h2>{html.escape(section.title)}</h2>"
    if section.note:
        yield f'<p class="note">{html.escape(section.note)}</p>'
    columns, rows = section.answer
    if not rows:
        yield "<p>none</p>"
        return
    draw = _CHARTS.get(section.title.partition(",")[0])
    if draw is not None:
        yield _svg(draw, section)
    numbers = [
        not any(isinstance(value, str) for value in each) for each in zip(*rows, strict=True)
    ]
    yield "<table><thead>"
    yield _row("th", columns, numbers)
    yield "</thead><tbody>"
    for row in rows:
        yield _row("td", [cell(value) for value in row], numbers)
    yield "</tbody></table>"


def _row(tag: str, texts: Sequence[str], numbers: Sequence[bool]) -> str:
    cells = "".join(
        f"<{tag}{' class=number' if number else ''}>{html.escape(text)}</{tag}>"
        for text, number in zip(texts, numbers, strict=True)
    )
    return f"<tr>{cells}</tr>"


def _svg(draw: Callable[["Axes", Section], None], section: Section) -> str:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    draw(figure.subplots(), section)
    content = io.BytesIO()
    # Without its metadata, which names the page of matplotlib and the time.
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(content, format="svg", metadata=nothing)
    text = content.getvalue().decode()
    return text[text.index("<svg") :]


def _throughput(axes: "Axes", section: Section) -> None:
    rows = section.answer.rows
    rates = [row[2] or 0 for row in rows]
    axes.bar(range(len(rows)), rates, width=1.0, color=_BLUE)
    every = max(1, len(rows) // 8)
    # Of the time what tells one from another: within a day the time of day.
    told = slice(11, None) if rows[0][0][:10] == rows[-1][0][:10] else slice(5, 16)
    axes.set_xticks(range(0, len(rows), every), [row[0][told] for row in rows[::every]])
    axes.set_ylabel("events/s")


def _latency(axes: "Axes", section: Section) -> None:
    rows = section.answer.rows[:_MOST_BARS]
    places = range(len(rows))
    for shift, column, label, color in (
        (-0.25, 2, "p50", _BLUE), (0.0, 4, "p99", _ORANGE), (0.25, 6, "greatest", _RED),
    ):  # fmt: skip
        axes.barh(
            [place + shift for place in places], [row[column] for row in rows], 0.25,
            label=label, color=color,
        )  # fmt: skip
    axes.set_yticks(places, [_plain(row[0]) for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("ms")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _verdicts(axes: "Axes", section: Section) -> None:
    rows = [row for row in section.answer.rows if row[0] != "total"][:_MOST_BARS]
    topics = [_plain(row[0]) for row in rows]
    stored = [int(row[2]) for row in rows]
    conflicts = [int(row[4]) for row in rows]
    duplicates = [int(row[3]) - int(row[4]) for row in rows]
    axes.barh(topics, stored, label="stored", color=_BLUE)
    axes.barh(topics, duplicates, left=stored, label="duplicate", color=_ORANGE)
    before = [sum(two) for two in zip(stored, duplicates, strict=True)]
    axes.barh(topics, conflicts, left=before, label="conflict", color=_RED)
    axes.invert_yaxis()
    axes.set_xlabel("events")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _plain(text: object) -> str:
    # A dollar sign would begin a formula.
    return cell(text).replace("$", r"\$")[:40]


_CHARTS = {"Throughput": _throughput, "Latency": _latency, "Events": _verdicts}

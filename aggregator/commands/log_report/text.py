"""A report as tables of text."""

from collections.abc import Iterable, Iterator

from aggregator.commands.log_report.queries import Section, Summary

_WIDEST = 60


def cell(value: object) -> str:
    """One value, as it is shown: whole numbers with separators, text without control characters."""
    if value is None:
        return "-"
    if isinstance(value, (int, float)):
        return f"{value:,}"
    text = str(value)
    return text if text.isprintable() else ascii(text)


def lines(summary: Summary, sections: Iterable[Section]) -> Iterator[str]:
    """The whole report, line by line."""
    yield heading(summary)
    for section in sections:
        yield ""
        yield section.title + (f" ({section.note})" if section.note else "")
        yield from _table(section)


def heading(summary: Summary) -> str:
    """What was read, in one line."""
    foreign = f", {summary.foreign:,} of them no log lines" if summary.foreign else ""
    return f"{summary.lines:,} lines{foreign}, from {summary.first} to {summary.last} UTC"


def _table(section: Section) -> Iterator[str]:
    columns, rows = section.answer
    if not rows:
        yield "  none"
        return
    shown = [columns, *([cell(value) for value in row] for row in rows)]
    numbers = [
        all(value is None or isinstance(value, (int, float)) for value in column)
        for column in zip(*rows, strict=True)
    ]
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(*shown, strict=True)]
    for row in shown:
        texts = [
            f"{text:>{width}}" if right else f"{text:<{width}}"
            for text, width, right in zip(row, widths, numbers, strict=True)
        ]
        yield ("  " + "  ".join(texts)).rstrip()

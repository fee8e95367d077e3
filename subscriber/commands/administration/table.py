"""Tables for people."""

from collections.abc import Sequence

from subscriber.commands.lines import visible

Cell = str | int | float


def table(heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Return the lines of a table: texts to the left, numbers to the right.

    Args:
        heads: the name of each column.
        rows: the cells; those of a column are all texts, or all numbers.
    """
    texts = [[_shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *texts, strict=True)]
    to_the_left = [isinstance(cell, str) for cell in rows[0]] if rows else [True] * len(heads)
    return [
        "  ".join(
            text.ljust(width) if left else text.rjust(width)
            for text, width, left in zip(row, widths, to_the_left, strict=True)
        ).rstrip()
        for row in [heads, *texts]
    ]


def _shown(cell: Cell) -> str:
    if isinstance(cell, str):
        return visible(cell)
    return f"{cell:,}"

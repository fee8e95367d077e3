"""The choice between JSON for programs and text for people."""

import argparse
import os
import sys

from subscriber.commands.lines import Render, TextLine, harmless, harmless_json_line, json_line


def add_to(parser: argparse._ActionsContainer, json: str, text: str) -> None:
    """Add --format.

    Args:
        parser: of the command.
        json: what is printed as JSON.
        text: what is printed as text.
    """
    parser.add_argument(
        "--format",
        choices=("json", "text"),
        help=f"json: {json}, for programs; text: {text}, for people (default: text on a terminal, "
        "else json)",
    )


def is_text(chosen: str | None) -> bool:
    """Return whether to print text."""
    return chosen == "text" or (chosen is None and sys.stdout.isatty())


def event_line(chosen: str | None) -> Render:
    """Return what renders the line of an event."""
    if is_text(chosen):
        return TextLine(has_colors=has_colors()).render
    return harmless_json_line if sys.stdout.isatty() else json_line


def json_text(text: bytes) -> bytes:
    """Return a line of JSON as it was sent, or so that it can't drive the terminal that it is for.

    Args:
        text: the JSON value on one line, without newline.
    """
    return (harmless(text) if sys.stdout.isatty() else text) + b"\n"


def has_colors() -> bool:
    """Return whether standard output is to have colors."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )

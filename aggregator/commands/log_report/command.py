"""`aggregator logs report`: its options, and where the report goes."""

import argparse
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from aggregator.commands.log_report import html, text
from aggregator.commands.log_report.duckdb_lines import CannotReport, loaded
from aggregator.commands.log_report.queries import sections, summary
from aggregator.logging import standard_streams
from aggregator.settings.command_line import Parser

USAGE = "[FILE ...] [--html FILE]"
DESCRIPTION = """\
Read the JSON logs of aggregators and show throughput over time, latency by path, events
by topic and verdict, flushes, slowest requests, warnings and errors.
"""


def report(parser: Parser, arguments: Sequence[str]) -> None:
    """Read the log and print what it says.

    Args:
        parser: the parser of the command, to which its options are added.
        arguments: the command line behind `logs report`.

    Raises:
        CannotReport: the log can't be read, or what was asked for can't be written.
        WrongCommandLine: an option is not known, or lacks its value.
    """
    _add_options(parser)
    options = parser.parse_args(arguments)
    if sys.stdout is None:
        # Its number would be that of the next file opened, and what is printed written there.
        raise CannotReport(standard_streams.CLOSED)
    for file in options.file:
        _check(file)
    if not options.file and sys.stdin is not None and sys.stdin.isatty():
        raise CannotReport("no log file is named, and standard input is a terminal: name one")
    try:
        _report(options)
    except KeyboardInterrupt:
        raise CannotReport("interrupted before the end; nothing is known") from None


def _report(options: argparse.Namespace) -> None:
    if options.html is not None:
        html.check_possible()
    with loaded(options.file) as log:
        read = summary(log)
        answered = list(sections(log))
    try:
        if options.html is not None:
            options.html.write_text(html.page(read, answered), encoding="utf-8")
        if isinstance(sys.stdout, TextIOWrapper):
            # A path may be more than the terminal's encoding can say.
            sys.stdout.reconfigure(errors="backslashreplace")
        sys.stdout.writelines(f"{line}\n" for line in text.lines(read, answered))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough. What Python still holds for it must not fail at the end.
        standard_streams.drop(sys.stdout)
    except OSError as error:
        if error.filename is None:
            standard_streams.drop(sys.stdout)
        raise CannotReport(f"can't write the report: {error}") from error


def _add_options(parser: Parser) -> None:
    parser.add_argument(
        "file",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="log files, also compressed (.gz); standard input if none is given",
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write a html with charts as well, which needs no other file",
    )


def _check(file: Path) -> None:
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        raise CannotReport(f"can't read {str(file)!r}: {error.strerror}") from error

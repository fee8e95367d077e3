"""The arguments of `python -m publisher ship`."""

import argparse
import math
import socket
from pathlib import Path

from publisher import cli, connection_options
from publisher.batching import Limits
from publisher.ship.records.names import is_source, made_source
from publisher.ship.records.registry import FORMATS
from publisher.ship.records.source import SourceTemplate

MAX_BATCH_EVENTS = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        type=_path,
        help="a log file of any bytes, .gz, .bz2 and .zst too; a pattern such as '/var/log/*.log'; "
        "- for standard input; with journal, directories or files of journals (default there: the "
        "journal of this machine)",
    )
    connection_options.add_to(parser)
    parser.add_argument(
        "--topic",
        metavar="NAME",
        type=cli.topic,
        help="1 to 249 characters of A-Z a-z 0-9 . _ - (no default; with --topic-field, for the "
        "records that have none)",
    )
    _add_sources(parser)
    parser.add_argument(
        "--follow",
        action="store_true",
        help="go on with what is written to the files, also when they are rotated, until SIGTERM "
        "or Ctrl-C",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        type=_path,
        help="keep there how far the files are sent, and go on from there (default: none; with "
        "--follow, a file under ~/.local/state)",
    )
    _add_format(parser)
    _add_refused(parser)
    parser.add_argument(
        "--batch-events",
        metavar="N",
        default=Limits().max_batch_events,
        type=cli.whole_number(1, MAX_BATCH_EVENTS),
        help=f"at most this many events in a request, 1 to {MAX_BATCH_EVENTS:,} "
        "(default: %(default)s events)",
    )
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=_deadline,
        help="give a request up after this many seconds of trying again, or inf (default: "
        f"{cli.DEFAULT_DEADLINE_S:g} seconds; with --follow, inf)",
    )


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        metavar="TEMPLATE",
        type=_source,
        help="source of the events, with {host}, {path}, {name} of the file, and {field:a.b}, a "
        "member of an ndjson record or journal entry (default: {host}:{path}; "
        "{host}:{unit} of a journal)",
    )
    parser.add_argument(
        "--host",
        metavar="NAME",
        type=_host,
        default=made_source(socket.gethostname()),
        help="{host} of the sources, and part of the ids (default: the name of this machine)",
    )
    parser.add_argument(
        "--ids",
        choices=("host", "source"),
        default="host",
        help="what ids are made of beside the bytes: host: host, source and path; source: the "
        "source alone, {name} by default, as in versions before 0.2 (default: %(default)s)",
    )


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=(*FORMATS, "text"),
        default="lines",
        help="what is in a line (default: %(default)s; text is its former name)",
    )
    parser.add_argument(
        "--multiline",
        metavar="PATTERN",
        help="with lines: a line that begins like this regular expression begins a record",
    )
    for field, what in (
        ("id", "the event_id (default: made of the line's content and place)"),
        ("topic", "the topic (default: --topic)"),
        ("time", "the timestamp (default: the time of sending)"),
    ):
        parser.add_argument(
            f"--{field}-field",
            metavar="PATH",
            help=f"with ndjson: the member that has {what}; a.b is the member b of the object a",
        )
    parser.add_argument(
        "--time-format",
        metavar="FORMAT",
        action="append",
        default=[],
        help="how times are written: rfc3339, epoch-s, epoch-ms, epoch-us, epoch-ns, asctime, or "
        "like %%d/%%b/%%Y:%%H:%%M:%%S %%z; may be given several times; with lines, at their start",
    )
    parser.add_argument(
        "--time-zone",
        metavar="ZONE",
        help="of times without one, such as Europe/Berlin (default: that of this machine)",
    )
    parser.add_argument(
        "--unit",
        metavar="NAME",
        action="append",
        default=[],
        help="with journal: only entries of this unit; may be given several times",
    )


def _add_refused(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dead-letters",
        metavar="FILE",
        type=_path,
        help="keep records that break a rule there (default: they are stored as text)",
    )
    parser.add_argument(
        "--resend",
        metavar="FILE",
        type=_path,
        help="send the records of such a file again, with the options that are right now",
    )


def _path(text: str) -> Path:
    if not text:
        # Or it would be the working directory.
        raise argparse.ArgumentTypeError("it is empty, and names no file")
    return Path(text)


def _deadline(text: str) -> float:
    return math.inf if text == "inf" else cli.above_zero("seconds")(text)


def _source(text: str) -> SourceTemplate:
    try:
        template = SourceTemplate.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--source ")) from error
    if "{" not in text and not is_source(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 1 to 256 characters without control characters"
        )
    return template


def _host(text: str) -> str:
    if not is_source(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 1 to 256 characters without control characters"
        )
    return text

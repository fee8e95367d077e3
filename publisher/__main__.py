"""The command line: `python -m publisher ship FILE... --topic NAME`."""

import argparse
import asyncio
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from publisher.batches import DEFAULT_BATCH_EVENTS, MAX_BATCH_EVENTS
from publisher.client import RetryPolicy
from publisher.log_events import MAX_SOURCE_CHARACTERS, is_source
from publisher.ship import FileRefused, ShipStopped, Totals, ship

_PROG = "python -m publisher"
_DEFAULT_URL = "http://127.0.0.1:8080"
_DEFAULT_DEADLINE_S = RetryPolicy().deadline_s
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_NOT_IN_A_URL = re.compile(r"[\s\x00-\x1f\x7f\ud800-\udfff]")

_DONE, _FAILED, _USAGE, _INTERRUPTED = 0, 1, 2, 130
_SAFE = "running the same command again is safe: what is stored already is not stored twice"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # The usage in front of it, several lines, would hide the sentence.
        self.exit(_USAGE, f"{self.prog}: {message} (see --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    arguments: without the program's name; from sys.argv if not given.

    Gives the exit status: 0 when all is sent, 1 when something was refused, given up or in
    conflict, 2 for what the command line or a file makes impossible, 130 when interrupted.
    """
    parsed = _parser().parse_args(arguments)
    return _ship(parsed)


def _ship(parsed: argparse.Namespace) -> int:
    totals = Totals()
    failure = ""
    status = _DONE
    try:
        asyncio.run(
            ship(
                parsed.files,
                parsed.url,
                parsed.topic,
                totals,
                source=parsed.source,
                batch_events=parsed.batch_events,
                policy=RetryPolicy(deadline_s=parsed.deadline),
            )
        )
    except FileRefused as error:
        status, failure = _USAGE, str(error)
    except ShipStopped as error:
        status, failure = _FAILED, f"{error}; {_SAFE}"
    except KeyboardInterrupt:
        status, failure = _INTERRUPTED, f"interrupted; {_SAFE}"
    if status == _DONE and totals.conflicts:
        status = _FAILED
        failure = (
            f"{totals.conflicts:,} conflicts: another line with the same id was stored before and "
            "is kept; was a file changed in place, or is there another one with the same source "
            f"and first line (then give it its own --source)? {_SAFE[0].upper()}{_SAFE[1:]}"
        )
    if status == _DONE or totals.batches:
        sys.stdout.write(f"{totals}\n")
        sys.stdout.flush()
    if failure:
        sys.stderr.write(f"{_PROG} ship: {failure}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROG, description="Publish to an aggregator over HTTP.", allow_abbrev=False
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    ship_parser = commands.add_parser(
        "ship",
        help="send the lines of log files to a topic",
        description=(
            "Send every line of the files to a topic, byte for byte and in order. Running it again "
            "stores nothing twice."
        ),
        allow_abbrev=False,
    )
    ship_parser.add_argument(
        "files", metavar="FILE", nargs="+", type=Path, help="a log file of any bytes"
    )
    ship_parser.add_argument(
        "--url", default=_DEFAULT_URL, type=_url, help="of the aggregator (default: %(default)s)"
    )
    ship_parser.add_argument(
        "--topic",
        metavar="NAME",
        required=True,
        type=_topic,
        help="1 to 249 characters of A-Z a-z 0-9 . _ - (no default)",
    )
    ship_parser.add_argument(
        "--source",
        metavar="NAME",
        type=_source,
        help="source of the events, 1 to 256 characters (default: each file's base name)",
    )
    ship_parser.add_argument(
        "--batch-events",
        metavar="N",
        default=DEFAULT_BATCH_EVENTS,
        type=_batch_events,
        help=f"at most this many events in a request, 1 to {MAX_BATCH_EVENTS:,} "
        "(default: %(default)s events)",
    )
    ship_parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        default=_DEFAULT_DEADLINE_S,
        type=_seconds,
        help="give a request up after this many seconds of trying again "
        f"(default: {_DEFAULT_DEADLINE_S:g} seconds)",
    )
    return parser


def _url(text: str) -> str:
    wrong = argparse.ArgumentTypeError(
        f"{text!r} is not an http or https URL such as {_DEFAULT_URL}, without ? and #"
    )
    if _NOT_IN_A_URL.search(text) or "?" in text or "#" in text:
        raise wrong
    try:
        parts = urlsplit(text)
        # The port is checked when it is read, the name of the host when it is encoded.
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:
        raise wrong from None
    if not usable:
        raise wrong
    return text


def _topic(text: str) -> str:
    if not _TOPIC.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 1 to 249 characters of A-Z a-z 0-9 . _ -"
        )
    return text


def _source(text: str) -> str:
    if not is_source(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 1 to {MAX_SOURCE_CHARACTERS} characters without control characters"
        )
    return text


def _batch_events(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_BATCH_EVENTS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number from 1 to {MAX_BATCH_EVENTS:,}"
        )
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


if __name__ == "__main__":
    sys.exit(main())

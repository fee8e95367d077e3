"""The command `python -m publisher ship`."""

import argparse
import asyncio
import hashlib
import math
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm
from yarl import URL

from publisher import cli
from publisher.batching import Limits
from publisher.output import put, tell
from publisher.retry import Retry, RetryPolicy
from publisher.ship.checkpoint import Checkpoint, CheckpointRefused
from publisher.ship.formats import Format, NdjsonFormat, TextFormat
from publisher.ship.log_events import MAX_SOURCE_CHARACTERS, is_source
from publisher.ship.opening import FileRefused
from publisher.ship.ship import STDIN, Report, Target, follow, ship, ship_stream
from publisher.ship.shipper import ShipStopped
from publisher.ship.totals import Totals

_MAX_BATCH_EVENTS = 10_000
_TOLD_LINES = 10
_SAFE = "running the same command again is safe: what is stored already is not stored twice"
_NEW_STREAM = "what was stored stays, and would be stored once more if it was sent again"


def add_to(commands: cli.Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "ship",
        help="send the lines of log files to a topic",
        description=(
            "Send every line of the files to a topic, byte for byte and in order. Running it again "
            "stores nothing twice."
        ),
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, program=parser.prog)
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        type=Path,
        help="a log file of any bytes, a pattern such as '/var/log/*.log', or - for standard input",
    )
    cli.add_url(parser)
    parser.add_argument(
        "--topic",
        metavar="NAME",
        type=cli.topic,
        help="1 to 249 characters of A-Z a-z 0-9 . _ - (no default; needed unless --topic-field)",
    )
    parser.add_argument(
        "--source",
        metavar="NAME",
        type=_source,
        help="source of the events, 1 to 256 characters (default: each file's base name, stdin)",
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="go on with what is written to the files, also when they are rotated, until SIGTERM "
        "or Ctrl-C",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        type=Path,
        help="keep there how far the files are sent, and go on from there (default: none; with "
        "--follow, a file under ~/.local/state)",
    )
    parser.add_argument(
        "--format",
        choices=("text", "ndjson"),
        default="text",
        help="text: a line is an event; ndjson: a line is a JSON object, the payload of an event "
        "(default: %(default)s)",
    )
    for field, what in (
        ("id", "the event_id (default: made of the line's content and place)"),
        ("topic", "the topic (default: --topic)"),
        ("time", "the timestamp, RFC 3339 (default: the time of sending)"),
    ):
        parser.add_argument(
            f"--{field}-field",
            metavar="PATH",
            help=f"with ndjson: the member that has {what}; a.b is the member b of the object a",
        )
    parser.add_argument(
        "--batch-events",
        metavar="N",
        default=Limits().max_batch_events,
        type=cli.whole_number(1, _MAX_BATCH_EVENTS),
        help=f"at most this many events in a request, 1 to {_MAX_BATCH_EVENTS:,} "
        "(default: %(default)s events)",
    )
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=cli.above_zero("seconds"),
        help="give a request up after this many seconds of trying again (default: "
        f"{cli.DEFAULT_DEADLINE_S:g} seconds; with --follow, never)",
    )


def run(parsed: argparse.Namespace) -> int:
    """Run the command; gives its exit status."""
    totals = Totals()
    narrator = _Narrator(parsed.program, totals)
    failure = ""
    status = cli.DONE
    try:
        target = _target(parsed)
        asyncio.run(_ship(parsed, target, narrator))
    except (_Usage, FileRefused, CheckpointRefused) as error:
        status, failure = cli.USAGE, str(error)
    except ShipStopped as error:
        status, failure = cli.FAILED, f"{error}; {_if_run_again(parsed)}"
    except KeyboardInterrupt:
        status, failure = cli.INTERRUPTED, f"interrupted; {_if_run_again(parsed)}"
    narrator.close()
    if status == cli.DONE and (totals.conflicts or totals.rejected):
        status = cli.FAILED
        failure = (
            f"{totals.conflicts:,} lines in conflict and {totals.rejected:,} rejected were not "
            "stored, all others were"
        )
    if status == cli.DONE or totals.events:
        put(f"{totals}\n")
    if failure:
        tell(f"{parsed.program}: {failure}\n")
    return status


def _if_run_again(parsed: argparse.Namespace) -> str:
    return _NEW_STREAM if parsed.files == [STDIN] and parsed.id_field is None else _SAFE


class _Usage(Exception):
    """The options do not go together; the message is one sentence."""


class _Narrator:
    """Tells people on stderr, over a progress bar if that is a terminal."""

    def __init__(self, program: str, totals: Totals) -> None:
        self._program = program
        self.totals = totals
        self._told = 0
        self._bar: tqdm[NoReturn] = tqdm(
            total=None,
            unit="B",
            unit_scale=True,
            file=sys.stderr,
            disable=not (sys.stderr and sys.stderr.isatty()),
        )

    def report(self) -> Report:
        return Report(
            self.totals, self.tell, self._tell_of_line, self._expect, self._advance, self._retry
        )

    def tell(self, sentence: str) -> None:
        line = f"{self._program}: {sentence}"
        if self._bar.disable:
            tell(f"{line}\n")
        else:
            self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()
        if self._told > _TOLD_LINES:
            self.tell(f"{self._told - _TOLD_LINES:,} more sentences of that kind were left out")

    def _tell_of_line(self, sentence: str) -> None:
        self._told += 1
        if self._told <= _TOLD_LINES:
            self.tell(sentence)

    def _expect(self, total_bytes: int) -> None:
        self._bar.reset(total_bytes)

    def _advance(self, acknowledged_bytes: int) -> None:
        self._bar.update(acknowledged_bytes)

    def _retry(self, retry: Retry) -> None:
        self.totals.retries += 1
        if retry.attempt == 1:
            # By its id the aggregator's log has it, unless it never got there.
            named = f" (request id {retry.request_id})" if retry.may_be_stored else ""
            self.tell(f"{retry.reason}{named}; trying again")


async def _ship(parsed: argparse.Namespace, target: Target, narrator: _Narrator) -> None:
    report = narrator.report()
    if parsed.files == [STDIN]:
        # Closed by whoever started this, its number is that of any file by now.
        if sys.stdin is None:
            raise _Usage("standard input is closed")
        await ship_stream(sys.stdin.fileno(), target, report, source=parsed.source or "stdin")
        return
    path: Path | None = parsed.checkpoint
    if parsed.follow and path is None:
        path = _default_checkpoint(parsed)
        narrator.tell(f"the checkpoint is {os.fspath(path)!r}")
    if path is None:
        await ship(parsed.files, target, report, source=parsed.source)
        return
    with Checkpoint.opened(path, _shipped_to(parsed)) as checkpoint:
        if not parsed.follow:
            await ship(parsed.files, target, report, source=parsed.source, checkpoint=checkpoint)
            return
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await follow(
            parsed.files, target, report, stop, source=parsed.source, checkpoint=checkpoint
        )


def _target(parsed: argparse.Namespace) -> Target:
    if STDIN in parsed.files:
        if len(parsed.files) > 1:
            raise _Usage("- for standard input goes alone, without other files")
        if parsed.follow or parsed.checkpoint:
            raise _Usage(
                "standard input is read to its end and cannot be read again, so neither --follow "
                "nor --checkpoint goes with it"
            )
    deadline_s = parsed.deadline
    if deadline_s is None:
        deadline_s = math.inf if parsed.follow else cli.DEFAULT_DEADLINE_S
    return Target(
        parsed.url, _format(parsed), parsed.batch_events, RetryPolicy(deadline_s=deadline_s)
    )


def _format(parsed: argparse.Namespace) -> Format:
    if (parsed.topic is None) == (parsed.topic_field is None):
        raise _Usage("one of --topic and --topic-field is needed, and not both")
    if parsed.format == "text":
        for field in ("id", "topic", "time"):
            if getattr(parsed, f"{field}_field") is not None:
                raise _Usage(f"--{field}-field needs --format ndjson: text has no fields")
        return TextFormat(parsed.topic)
    return NdjsonFormat(parsed.topic or "", parsed.id_field, parsed.topic_field, parsed.time_field)


def _shipped_to(parsed: argparse.Namespace) -> str:
    """Name where lines go: a checkpoint of the one says nothing of another."""
    topic = parsed.topic or f"field {parsed.topic_field}"
    # It is written down, which a password must not be.
    url = str(URL(parsed.url).with_user(None)).rstrip("/")
    return f"{url} {topic} {parsed.format} {parsed.id_field or ''}"


def _default_checkpoint(parsed: argparse.Namespace) -> Path:
    files = [os.fspath(path.absolute()) for path in parsed.files]
    what = "\0".join([_shipped_to(parsed), parsed.source or "", *files])
    digest = hashlib.sha256(what.encode(errors="surrogateescape")).hexdigest()[:20]
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        directory = Path(state).expanduser() / "pubsub-log-aggregator"
    except RuntimeError as error:
        raise _Usage("there is no home directory for a checkpoint: name --checkpoint") from error
    return directory / f"ship-{digest}.checkpoint"


def _source(text: str) -> str:
    if not is_source(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 1 to {MAX_SOURCE_CHARACTERS} characters without control characters"
        )
    return text

"""The command `python -m publisher load`: its options, its output and its exit status."""

import argparse
import asyncio
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from publisher import cli, connection_options
from publisher.load import chart
from publisher.load.content import MAX_PAYLOAD_BYTES, MIN_PAYLOAD_BYTES
from publisher.load.key_ids import ID_KINDS, new_run
from publisher.load.plan import Plan, Shape
from publisher.load.report import Report, Settings, as_json, as_text
from publisher.load.run import CannotStart, run_load
from publisher.output import put, tell

_MOST_EVENTS = 100_000_000
_MOST_TOPICS = 1000
_RUN_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")

_new_event_loop: Callable[[], asyncio.AbstractEventLoop] | None
try:
    from uvloop import new_event_loop as _new_event_loop
except ImportError:  # not made for this platform
    _new_event_loop = None


def add_to(commands: cli.Commands) -> None:
    """Add the command `load`."""
    parser = commands.add_parser(
        "load",
        help="send generated events, and check all that comes of them",
        description="Send generated events, duplicates and conflicts among them, and check every "
        "verdict, every count and the log read back against what must be so.",
        allow_abbrev=False,
    )
    connection_options.add_to(parser)
    cli.add_deadline(parser)
    add = parser.add_argument
    add(
        "--events", metavar="N", default=20_000, type=cli.whole_number(1, _MOST_EVENTS),
        help="send so many in all, repeats included (default: 20,000 events)",
    )  # fmt: skip
    add(
        "--duplicates", metavar="SHARE", default=0.3, type=_share,
        help="of the events, so many are duplicates (default: 0.3)",
    )  # fmt: skip
    add(
        "--conflicts", metavar="SHARE", default=0.0, type=_share,
        help="and so many say something else under an id that is taken (default: 0)",
    )  # fmt: skip
    add(
        "--batch", metavar="N", default=100, type=cli.whole_number(1, 10_000),
        help="events of a request (default: 100 events)",
    )  # fmt: skip
    add(
        "--concurrency", metavar="N", default=50, type=cli.whole_number(1, 10_000),
        help="requests under way at once, each on a connection of its own (default: 50)",
    )  # fmt: skip
    add(
        "--topics", metavar="NAMES", default=("auth", "orders", "payment"), type=_topics,
        help="separated by commas (default: auth,orders,payment)",
    )  # fmt: skip
    add(
        "--rate", metavar="EVENTS_PER_SECOND", type=cli.above_zero("events a second"),
        help="open loop: requests are due at this rate, whenever those before them are answered "
        "(without it closed loop: each connection sends when its last answer is there)",
    )  # fmt: skip
    add(
        "--payload-bytes", metavar="N", default=150,
        type=cli.whole_number(MIN_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES),
        help="size of each payload (default: 150 bytes)",
    )  # fmt: skip
    add("--ids", default="uuid7", choices=ID_KINDS, help="kind of the ids (default: %(default)s)")
    add(
        "--seed", metavar="N", default=1, type=cli.whole_number(0, 10**18 - 1),
        help="the same seed, run and shape make the same events (default: %(default)s)",
    )  # fmt: skip
    add(
        "--run", metavar="NAME", dest="run_name", type=_run_name,
        help="every id is made from it; 1 to 100 characters of A-Z a-z 0-9 . _ - (default: a new "
        "one each time)",
    )  # fmt: skip
    add("--json", metavar="FILE", type=Path, help="write all figures there as JSON")
    add(
        "--chart", metavar="FILE", type=_chart,
        help="draw throughput and latency over time there: a page if it ends in .html, a picture "
        "if it ends in .png",
    )  # fmt: skip
    parser.set_defaults(run=run, program=parser.prog)


def run(parsed: argparse.Namespace) -> int:
    """Run the command.

    Args:
        parsed: the parsed command line.

    Returns:
        The exit status: 0 if every check agrees, 1 if one found a difference or the run ended
        early, 2 if it can't start, 130 if it was interrupted.
    """
    try:
        return _run(parsed)
    except CannotStart as error:
        return _say(parsed, str(error), cli.USAGE)
    except KeyboardInterrupt:
        return _say(
            parsed,
            "interrupted: what was sent so far is not checked, and stays in the log",
            cli.INTERRUPTED,
        )


def _run(parsed: argparse.Namespace) -> int:
    settings = Settings(
        url=parsed.url,
        run=parsed.run_name or new_run(),
        events=parsed.events,
        duplicates=parsed.duplicates,
        conflicts=parsed.conflicts,
        batch=parsed.batch,
        concurrency=parsed.concurrency,
        topics=parsed.topics,
        seed=parsed.seed,
        rate=parsed.rate,
        payload_bytes=parsed.payload_bytes,
        ids=parsed.ids,
        deadline=parsed.deadline,
    )
    shape = _shape(settings)
    for option, path in (("--json", parsed.json), ("--chart", parsed.chart)):
        _check_writable(option, path)
    if parsed.chart:
        try:
            chart.check_possible()
        except chart.NoMatplotlib as error:
            raise CannotStart(str(error)) from error
    plan = Plan(shape)
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        report = runner.run(run_load(settings, plan, _progress, parsed.credentials))
    return _tell(report, parsed)


def _tell(report: Report, parsed: argparse.Namespace) -> int:
    # First: whoever reads what is printed may have seen enough, or the disk may be full.
    not_written = _write(report, parsed.json, parsed.chart)
    put(as_text(report, *_marks()) + "\n")
    if not_written:
        return _say(parsed, not_written, cli.FAILED)
    if report.ended:
        return _say(parsed, f"the run ended early: {report.ended}", cli.FAILED)
    if total := report.findings.total:
        found = "1 difference was" if total == 1 else f"{total:,} differences were"
        return _say(parsed, f"{found} found", cli.FAILED)
    return cli.DONE


def _write(report: Report, json_file: Path | None, chart_file: Path | None) -> str | None:
    """Write the files of the options; returns a sentence if one can't be written."""
    try:
        if json_file:
            text = json.dumps(as_json(report), ensure_ascii=False, indent=1)
            json_file.write_text(text + "\n", encoding="utf-8")
        if chart_file:
            chart.write(report, chart_file)
    except OSError as error:
        return f"cannot write {error.filename!r}: {error.strerror}"
    return None


def _say(parsed: argparse.Namespace, sentence: str, status: int) -> int:
    tell(f"{parsed.program}: {sentence}\n")
    return status


def _marks() -> tuple[str, str]:
    try:
        "✓✗".encode(sys.stdout.encoding if sys.stdout else "utf-8")
    except UnicodeEncodeError:
        return "ok   ", "WRONG"
    return "✓", "✗"


@contextmanager
def _progress(title: str, events: int) -> Iterator[Callable[[int], object]]:
    # A line that is redrawn is for a terminal, not for a file.
    with tqdm(
        desc=title,
        total=events,
        unit=" events",
        unit_scale=True,
        file=sys.stderr,
        disable=not (sys.stderr and sys.stderr.isatty()),
        leave=False,
    ) as bar:
        yield bar.update


def _shape(settings: Settings) -> Shape:
    duplicates = round(settings.events * settings.duplicates)
    conflicts = round(settings.events * settings.conflicts)
    if duplicates + conflicts >= settings.events:
        raise CannotStart(
            f"--duplicates {settings.duplicates:g} and --conflicts {settings.conflicts:g} leave "
            f"none of {settings.events:,} events that is new"
        )
    return Shape(
        events=settings.events,
        duplicates=duplicates,
        conflicts=conflicts,
        batch=settings.batch,
        topics=len(settings.topics),
        concurrency=settings.concurrency,
        seed=settings.seed,
    )


def _check_writable(option: str, path: Path | None) -> None:
    if path is None:
        return
    if path.is_dir():
        raise CannotStart(f"{option}: {str(path)!r} is a directory")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CannotStart(f"{option}: {str(path)!r} cannot be written")


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to below 1")
    return number


def _topics(text: str) -> tuple[str, ...]:
    names = tuple(cli.topic(name) for name in text.split(","))
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} names a topic twice")
    if len(names) > _MOST_TOPICS:
        raise argparse.ArgumentTypeError(f"{len(names):,} topics are more than {_MOST_TOPICS:,}")
    return names


def _run_name(text: str) -> str:
    if not _RUN_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 1 to 100 characters of A-Z a-z 0-9 . _ -"
        )
    return text


def _chart(text: str) -> Path:
    path = Path(text)
    if path.suffix not in chart.ENDINGS:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .html or .png")
    return path

"""Measures the service over HTTP beside its ceilings and its peers.

    python -m benchmarks                       # every part, about an hour
    python -m benchmarks standard --rounds 1   # a first look, half a minute

Everything runs on this machine: the load generator, the aggregator with its default settings, and
the database with its own; the directory for temporary files decides what a durable commit costs.
After each run the aggregator must have counted just what was sent. What was measured is printed
and written to a directory: figures.json, figures.md and charts. A target that is not reached is
reported, and is no error.
"""

import argparse
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import uvloop

from benchmarks import (
    consumers,
    growth,
    latency,
    library,
    matrix,
    peers,
    processor,
    reading,
    ship,
    standard,
    start,
    streams,
    subscriptions,
)
from benchmarks.chart import draw
from benchmarks.databases import postgres_databases, postgres_server
from benchmarks.machine import machine
from benchmarks.rounds import Part, Setting
from benchmarks.writing import Report

PARTS: Mapping[str, Callable[[Setting], Awaitable[Part]]] = {
    "standard": standard.measure,
    "peers": peers.measure,
    "latency": latency.measure,
    "library": library.measure,
    "matrix": matrix.measure,
    "growth": growth.measure,
    "processor": processor.measure,
    "start": start.measure,
    "reading": reading.measure,
    "streams": streams.measure,
    "subscriptions": subscriptions.measure,
    "consumers": consumers.measure,
    "ship": ship.measure,
}

_MIN_STORED = 1_000
"""Least value of --stored a round, so that each step of a growth has a piece for it."""


def say(line: str) -> None:
    """Print a line and flush it, since a run takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that the command line names.

    Args:
        arguments: the command line without the program's name, by default that of the process.

    Returns:
        The exit status.
    """
    given = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options = parser.parse_args(given)
    if options.stored < _MIN_STORED * options.rounds:
        parser.error(f"--stored must be at least {_MIN_STORED:,} a round")
    if unknown := set(options.part) - PARTS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: no such part; there are {', '.join(PARTS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    with postgres_server(options.dsn) as dsn:
        setting = Setting(
            rounds=options.rounds,
            events=options.events,
            stored=options.stored,
            postgres=postgres_databases(dsn),
            say=say,
            against=options.against,
        )
        command = " ".join(["python -m benchmarks", *given])
        if options.dsn:
            # It may hold a password, and what is written goes to others.
            command = command.replace(options.dsn, "DSN")
        uvloop.run(_run(options.part or list(PARTS), setting, dsn, command, options.out))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument(
        "part", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all if none is named"
    )
    parser.add_argument("--rounds", type=_positive, default=5, help="default: %(default)s")
    parser.add_argument(
        "--events",
        type=_positive,
        default=210_000,
        help="in batches, a measurement; fewer where they are slower; default: %(default)s",
    )
    parser.add_argument(
        "--stored",
        type=_positive,
        default=5_000_000,
        help="growth: events in each database at the end; subscriptions: those before a consumer, "
        "and those behind it; default: %(default)s, which the targets are about",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("bench-figures"),
        help="a directory for figures and charts; default: %(default)s",
    )
    parser.add_argument(
        "--against",
        type=_checkout,
        metavar="DIRECTORY",
        help="processor, start, reading, ship: another checkout to compare this one with; give the "
        "first two 15 rounds",
    )
    parser.add_argument("--dsn", help="a Postgres server, in place of one started here")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def _checkout(text: str) -> Path:
    directory = Path(text).resolve()
    if not (directory / "aggregator" / "__main__.py").is_file():
        raise argparse.ArgumentTypeError(f"{text} is no checkout: it has no aggregator/__main__.py")
    return directory


async def _run(names: Sequence[str], setting: Setting, dsn: str, command: str, out: Path) -> None:
    report = Report(command, await machine(dsn))
    say(report.heading())
    for name in names:
        say(f"\n{name}:")
        report.parts[name] = await PARTS[name](setting)
        # A part takes minutes: what was measured is kept if a later one fails.
        report.write(out)
        say(f"\n{report.text(name)}")
    say(f"\n{report.targets()}")
    draw(report.parts, out, say)
    say(f"\nwritten to {out}")


if __name__ == "__main__":
    sys.exit(main())

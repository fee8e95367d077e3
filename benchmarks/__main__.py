"""Measures the service over HTTP beside the ceilings of what it is made of.

    python -m benchmarks                      # two to three minutes
    python -m benchmarks --rounds 1 --events 20000 --json figures.json

Everything runs on this machine: the load generator, one aggregator with its default settings, and
the database with its own; the directory for temporary files decides what a durable commit costs.
After each run the aggregator must have counted just what was sent.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.databases import postgres_databases, postgres_server
from benchmarks.rounds import compare, machine, table, write


def say(line: str) -> None:
    """Write a line at once: a run takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=210_000, help="in batches, a round")
    parser.add_argument("--json", type=Path, help="write every measurement there")
    parser.add_argument("--dsn", help="a Postgres server, in place of one started here")
    options = parser.parse_args(arguments)
    say(machine())
    with postgres_server(options.dsn) as dsn:
        taken = asyncio.run(
            compare(postgres_databases(dsn), rounds=options.rounds, events=options.events, say=say)
        )
    say("")
    say(table(taken))
    if options.json:
        write(taken, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

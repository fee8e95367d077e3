"""Runs mutmut with one Postgres for all mutants, and tells the score of each file.

`tox -e mutants` runs every mutant that has no result yet,
`tox -e mutants -- 'storage.deduplication*'` those of that name, anew. Results stay in `mutants/`.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from support.backends import PostgresServer

MIN_SCORE = 85.0
"""In percent, for all files together."""

# A test that runs out of time or crashes has noticed the mutant too.
_NOTICED = {"killed", "timeout", "segfault"}
_NOT_RUN = {"not checked", "skipped", "check was interrupted by user"}


def main(arguments: Sequence[str]) -> int:
    """Run mutmut with these arguments; 0 if the score of what was run is high enough."""
    with PostgresServer.running(os.environ.get("AGGREGATOR_TEST_DSN")) as server:
        env = os.environ | {"AGGREGATOR_TEST_DSN": server.dsn}
        subprocess.run(["mutmut", "run", *arguments], env=env, check=True)
    listed = subprocess.run(
        ["mutmut", "results", "--all", "true"], check=True, capture_output=True, text=True
    )
    scores = scored(listed.stdout.splitlines())
    total = [sum(column) for column in zip(*scores.values(), strict=True)]
    sys.stdout.write(f"{'':32}{'mutants':>9}{'noticed':>9}{'score':>9}\n")
    for module, (mutants, noticed) in [*sorted(scores.items()), ("all", total)]:
        sys.stdout.write(f"{module:32}{mutants:9}{noticed:9}{100 * noticed / mutants:8.1f}%\n")
    return 0 if 100 * total[1] >= MIN_SCORE * total[0] else 1


def scored(lines: Iterable[str]) -> dict[str, tuple[int, int]]:
    """By module, how many mutants were run and how many were noticed.

    Args:
        lines: what `mutmut results` prints, "    storage.deduplication.x_settle__mutmut_1: killed".
    """
    mutants: Counter[str] = Counter()
    noticed: Counter[str] = Counter()
    for line in lines:
        name, _, status = line.strip().partition(": ")
        if status and status not in _NOT_RUN:
            module = name.rpartition(".")[0]
            mutants[module] += 1
            noticed[module] += status in _NOTICED
    return {module: (mutants[module], noticed[module]) for module in mutants}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Consumers are killed again and again, at the worst moments, and so is their aggregator.

Each consumer is a process that kills itself at a point that was chosen for it: before and amid the
effects of a batch, around the commit, around each request, in halving. Others do not run for longer
than a lease and go on, or are killed by somebody else. Publishers go on all the while. In the end
an independent judge counts.

- Under a checkpoint, in the consumer's own database, every event has one effect; where the
  subscription keeps the order, effects have it.
- With results in another topic, under `result_id`, every event has one result.
- With acknowledgements alone every event has an effect, and some have more: what finds doubles in
  the others finds these.

The second law holds, nothing is lost, nothing is dead, and `verify` agrees.

The short campaigns always make the same choices. The long ones (`tox -e faults-long`) draw them
anew in each run, and make the same ones again with `CRASH_CAMPAIGN_SEED=seed`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.backends import Database, PostgresServer
from support.consumer_campaign import run_consumer_campaign
from support.consumer_campaign_draw import SOUND, SUBJECTS
from support.consumer_campaign_end import check_found
from support.consumer_campaign_plan import Kind, Point
from support.consumer_campaign_slots import Wanted
from support.consumer_campaign_tally import PROPERTY, ConsumerTally

SHORT = {
    "sqlite": ("ordered-asyncpg", "any-order-aiosqlite", "results", "acks-sqlite3"),
    "postgres": ("ordered-aiosqlite", "any-order-psycopg", "results", "acks-asyncpg"),
}
SHORT_KILLS = 5
SHORT_POINTS = (Point.DURABLE, Point.WRITTEN, Point.LEAVING, Point.HALVING)
"""In each subscription. What is acknowledged only comes again after the first of them for sure."""
LONG_KILLS = 50
LONG_AGGREGATORS = 60
"""At least so many on each backend."""

Record = Callable[[str, object], None]


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty Postgres database, of the consumers."""
    with postgres_server.database() as name:
        yield postgres_server.database_dsn(name)


async def run_and_check(
    database: Database,
    dsn: str,
    directory: Path,
    tally: ConsumerTally,
    wanted: Wanted,
    record: Record,
) -> None:
    """Run a campaign, and check what the judge has found."""
    try:
        found = await run_consumer_campaign(database, dsn, directory, tally, wanted)
    finally:
        record(PROPERTY, tally.figures())
    for name, of_it in zip(wanted.subjects, found, strict=True):
        check_found(SUBJECTS[name], of_it)
    assert tally.doubles_of(Kind.ACKS) > 0
    assert tally.repeated > 0
    assert tally.kills.total() >= wanted.kills * len(wanted.subjects)
    assert tally.aggregators >= wanted.aggregators


# Starts wait for each other on a busy machine.
@pytest.mark.timeout(600)
async def test_effects_of_killed_consumers_happen_once(
    database: Database, dsn: str, tmp_path: Path, record_property: Record
) -> None:
    tally = ConsumerTally(database.backend, "short")
    wanted = Wanted(SHORT[database.backend], SHORT_KILLS, aggregators=1, points=SHORT_POINTS)
    await run_and_check(database, dsn, tmp_path, tally, wanted, record_property)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_effects_of_consumers_killed_hundreds_of_times_happen_once(
    database: Database, dsn: str, tmp_path: Path, campaign_seed: str, record_property: Record
) -> None:
    tally = ConsumerTally(database.backend, campaign_seed)
    wanted = Wanted(SOUND, LONG_KILLS, LONG_AGGREGATORS)
    await run_and_check(database, dsn, tmp_path, tally, wanted, record_property)
    assert set(tally.kills) == set(Point)
    assert tally.suspended > 0

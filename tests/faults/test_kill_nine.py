"""`kill -9` again and again, at every moment of an aggregator's life, under load.

After every restart: each acknowledged event is stored once, at the offset that was told;
offsets are dense and the counts those of the requests that were stored, to the last event; a
request without an answer is stored as a whole or not at all, and sent again it is told the
offsets of the original. See `support.campaign`.

Consumers lease and settle all the while, die themselves and leave leases behind: nothing that was
acknowledged comes again, nothing is passed over, order is kept, an event has one holder, and the
counts of every subscription fit in every answer and are exact at the end. `verify` recounts them.

The short campaigns always make the same choices. The long ones (`tox -e faults-long`) draw
them anew in each run, print their seed, and make the same ones again with
`CRASH_CAMPAIGN_SEED=seed`.
"""

import random
from pathlib import Path

import pytest
from support.backends import Database, new_database
from support.campaign import PUBLISHERS, run_campaign
from support.campaign_consuming import SUBSCRIPTIONS
from support.campaign_lives import Moment
from support.campaign_tally import NewTally, Tally

LONG_KILLS = 160
"""At least so many in each long campaign, of which there are two for each backend."""

NEW_DATABASES = 20
"""On each of them two starts are cut short while the schema is not there yet."""

HOW_OFTEN = {
    Moment.LOADED: 6,
    Moment.ANSWERED: 3,
    Moment.DRAINING: 3,
    Moment.IDLE: 2,
    Moment.STARTING: 2,
    Moment.OPENING: 2,
}

CONSUMED_IN_SHORT = {1: ("ledger", "watch"), 3: ("desk", "workers")}
"""Subscriptions by the number of aggregators; in a long campaign all are consumed."""

AGGREGATORS_IN_SHORT = {"sqlite": 1, "postgres": 3}
"""Numbers of aggregators by the backend; the long campaigns have all four pairs."""

WITH_ONE_AND_THREE = pytest.mark.parametrize("aggregators", [1, 3])


def check_tally(tally: Tally) -> None:
    """What makes a campaign worth its name."""
    assert (tally.lost, tally.doubled) == (0, 0)
    assert tally.repeated >= 0.3
    assert tally.retried >= tally.whole + tally.absent > 0
    assert (tally.came_again, tally.passed_over) == (0, 0)
    assert tally.settles > 0


# Two dozen starts, which wait for each other on a busy machine.
@pytest.mark.timeout(600)
async def test_what_was_acknowledged_survives_and_no_request_is_stored_in_part(
    database: Database, tmp_path: Path, new_tally: NewTally
) -> None:
    aggregators = AGGREGATORS_IN_SHORT[database.backend]
    tally = new_tally(database.backend, aggregators, "short")
    moments = [*Moment]
    random.Random(9).shuffle(moments)
    await run_campaign(database, tmp_path, moments, tally, consumed=CONSUMED_IN_SHORT[aggregators])
    check_tally(tally)
    assert set(tally.kills) == set(Moment)


@pytest.mark.long
@pytest.mark.timeout(3600)
@WITH_ONE_AND_THREE
async def test_killed_hundreds_of_times(
    database: Database,
    tmp_path: Path,
    new_tally: NewTally,
    campaign_seed: str,
    aggregators: int,
) -> None:
    tally = new_tally(database.backend, aggregators, campaign_seed)
    chance = random.Random(campaign_seed)
    # A start that is cut short comes after another kill.
    moments = chance.choices([*HOW_OFTEN], [*HOW_OFTEN.values()], k=LONG_KILLS)
    await run_campaign(database, tmp_path, moments, tally, consumed=[*SUBSCRIPTIONS])
    check_tally(tally)
    assert tally.redelivered > 0
    assert tally.settled_again > 0
    assert tally.settles_unanswered > 0
    assert tally.leases_lost > 0
    assert tally.dead > 0
    assert tally.kills.total() >= LONG_KILLS
    assert tally.whole > 0
    assert tally.absent > 0


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_killed_again_and_again_while_the_schema_is_made(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest, campaign_seed: str
) -> None:
    server = request.getfixturevalue("postgres_server") if backend == "postgres" else None
    for number in range(NEW_DATABASES):
        tally = Tally(backend, 3, f"{campaign_seed}/{number}")
        with new_database(backend, tmp_path, server) as database:
            await run_campaign(database, tmp_path, [], tally)
        assert (tally.lost, tally.doubled) == (0, 0)
        assert tally.kills.total() == 6
        assert tally.requests == PUBLISHERS

"""A crash campaign that no loss could fail would prove nothing."""

from pathlib import Path

import pytest
from support.backends import Database
from support.campaign import run_campaign
from support.campaign_lives import Moment
from support.campaign_record import Broken
from support.campaign_tally import Tally

MOST_KILLS = 40

pytestmark = pytest.mark.timeout(600)  # starts wait for each other on a busy machine


async def test_an_aggregator_that_answers_before_the_commit_is_found_out(
    database: Database, tmp_path: Path
) -> None:
    tally = Tally(database.backend, 1, "doctored")
    moments = [Moment.ANSWERED] * MOST_KILLS
    with pytest.raises(Broken, match="acknowledged events are not stored where it was told"):
        await run_campaign(database, tmp_path, moments, tally, "acknowledge_first")
    assert tally.lost > 0


async def test_an_aggregator_that_counts_in_another_transaction_is_found_out(
    database: Database, tmp_path: Path
) -> None:
    tally = Tally(database.backend, 1, "doctored")
    moments = [Moment.LOADED] * MOST_KILLS
    with pytest.raises(Broken, match="looked up is at"):
        await run_campaign(database, tmp_path, moments, tally, "count_afterwards")

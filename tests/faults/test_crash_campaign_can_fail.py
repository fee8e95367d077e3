"""A crash campaign that no loss could fail would prove nothing."""

from pathlib import Path

import pytest
from support.backends import Database
from support.campaign import run_campaign
from support.campaign_lives import Moment
from support.campaign_record import Broken
from support.campaign_tally import Tally

MOST_KILLS = 40

ONE_BACKEND = pytest.mark.parametrize("backend", ["sqlite"])
"""What is taken away is not the backend's."""

pytestmark = pytest.mark.timeout(600)  # starts wait for each other on a busy machine


@pytest.mark.at_length("postgres")
async def test_an_aggregator_that_answers_before_the_commit_is_found_out(
    database: Database, tmp_path: Path
) -> None:
    tally = Tally(database.backend, 1, "doctored")
    moments = [Moment.ANSWERED] * MOST_KILLS
    with pytest.raises(Broken, match="acknowledged events are not stored where it was told"):
        await run_campaign(database, tmp_path, moments, tally, "acknowledge_first")
    assert tally.lost > 0


@pytest.mark.at_length("postgres")
async def test_an_aggregator_that_counts_in_another_transaction_is_found_out(
    database: Database, tmp_path: Path
) -> None:
    tally = Tally(database.backend, 1, "doctored")
    moments = [Moment.LOADED] * MOST_KILLS
    with pytest.raises(Broken, match="looked up is at"):
        await run_campaign(database, tmp_path, moments, tally, "count_afterwards")


OF_A_SUBSCRIPTION = r"^subscription |settled and dead, and has"
"""What the judge of subscriptions says; which of its sentences comes first depends on the kill."""


@pytest.mark.at_length("postgres")
async def test_an_aggregator_that_answers_settles_before_the_commit_is_found_out(
    database: Database, tmp_path: Path
) -> None:
    tally = Tally(database.backend, 1, "doctored")
    moments = [Moment.LOADED] * MOST_KILLS
    with pytest.raises(Broken, match=OF_A_SUBSCRIPTION):
        await run_campaign(
            database, tmp_path, moments, tally, "answer_settles_first", ("workers", "ledger")
        )
    assert tally.settles > 0


@ONE_BACKEND
async def test_an_aggregator_that_forgets_leases_with_the_process_is_found_out(
    database: Database, tmp_path: Path
) -> None:
    tally = Tally(database.backend, 2, "doctored")
    moments = [Moment.LOADED] * MOST_KILLS
    with pytest.raises(Broken, match=OF_A_SUBSCRIPTION):
        await run_campaign(database, tmp_path, moments, tally, "forget_leases", ("workers",))


@ONE_BACKEND
async def test_an_aggregator_that_passes_over_what_ran_out_is_found_out(
    database: Database, tmp_path: Path
) -> None:
    tally = Tally(database.backend, 1, "doctored")
    moments = [Moment.LOADED] * MOST_KILLS
    with pytest.raises(Broken, match=OF_A_SUBSCRIPTION):
        await run_campaign(
            database, tmp_path, moments, tally, "pass_over_what_ran_out", ("ledger",)
        )

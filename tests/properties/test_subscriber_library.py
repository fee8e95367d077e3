"""Whatever happens on the way, subscribers keep what docs/use/subscriber.md promises."""

import logging

import pytest
from hypothesis import given
from support.library_scenario import Scenario, scenarios
from support.library_stage import play


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.getLogger("subscriber").setLevel(logging.CRITICAL)


@pytest.mark.timeout(3600)
@given(scenarios)
def test_subscribers_keep_their_promises(scenario: Scenario) -> None:
    play(scenario)

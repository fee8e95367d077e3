"""Whatever is done with subscriptions, they are as docs/use/subscriptions.md says."""

import asyncio
from typing import cast

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from support.backends import Database
from support.subscription_core import CoreDatabase, Decide
from support.subscription_judge import SubscriptionModel
from support.subscription_machine import SubscriptionMachine
from support.subscription_store_machine import StoreMachine
from support.subscription_stores import StoreDatabase
from support.verifying import differences
from support.weakened_subscriptions import WEAKENINGS, Weakening

from storage.subscriptions.decisions import Decisions


def on_the_core(decide: Decide = Decisions) -> type[SubscriptionMachine]:
    """The machine on decisions alone, without a database."""

    def make() -> SubscriptionMachine:
        model = SubscriptionModel()
        return SubscriptionMachine(CoreDatabase(model.log, decide), model)

    return cast("type[SubscriptionMachine]", make)


@pytest.mark.timeout(3600)
def test_decisions_are_as_the_model_says_after_any_commands() -> None:
    steps = settings().stateful_step_count * 2
    run_state_machine_as_test(on_the_core(), settings=settings(stateful_step_count=steps))


@pytest.mark.parametrize("weaken", WEAKENINGS)
def test_decisions_without_a_protection_are_found_out(
    weaken: Weakening, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaken(monkeypatch)
    found = settings(
        max_examples=1000,
        stateful_step_count=40,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(on_the_core(), settings=found)


@pytest.mark.timeout(3600)
def test_stores_are_as_the_model_says_after_any_commands_and_cuts(database: Database) -> None:
    # What is done in which millisecond differs each time, so there is no search for less.
    drawn = settings(max_examples=settings().max_examples // 10, phases=[Phase.generate])
    with asyncio.Runner() as runner, StoreDatabase.on(database, runner) as stores:
        run_state_machine_as_test(
            cast("type[StoreMachine]", lambda: StoreMachine(stores)), settings=drawn
        )
        assert stores.unknown
    assert differences(database) == []

"""Whatever is done with subscriptions of a double, they are as docs/use/subscriptions.md says."""

from typing import cast

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from support.double_database import DoubleDatabase
from support.subscription_judge import SubscriptionModel
from support.subscription_machine import SubscriptionMachine


@pytest.mark.timeout(3600)
def test_double_keeps_what_the_model_says_after_any_commands() -> None:
    def make() -> SubscriptionMachine:
        model = SubscriptionModel()
        return SubscriptionMachine(DoubleDatabase(model.log), model)

    run_state_machine_as_test(cast("type[SubscriptionMachine]", make), settings=settings())

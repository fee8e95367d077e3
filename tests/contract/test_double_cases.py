"""A real aggregator answers the cases that its double is held to."""

import pytest
from support.double_cases import cases, groups, run_case
from support.double_clock import LeaseClock
from support.double_targets import RealTarget
from support.http import MakeClient

from storage.protocols import EventStore


@pytest.mark.parametrize("group", groups())
async def test_aggregator_answers_as_the_cases_say(
    group: str,
    make_client: MakeClient,
    in_process_store: EventStore,
    monkeypatch: pytest.MonkeyPatch,
    subtests: pytest.Subtests,
) -> None:
    target = RealTarget(await make_client(in_process_store), LeaseClock(monkeypatch).let_pass)
    for number, case in enumerate(cases(group), 1):
        with subtests.test(case.name):
            await run_case(case, target, f"c{number}.")

"""The double answers the cases of `tests/contract/cases`, as the real aggregator does."""

import pytest
from support.double_cases import Case, cases, groups, run_case
from support.double_targets import DoubleTarget

CASES = [pytest.param(case, id=case.name) for group in groups() for case in cases(group)]


@pytest.mark.parametrize("case", CASES)
async def test_double_answers_as_the_case_says(case: Case) -> None:
    await run_case(case, DoubleTarget(), "x.")

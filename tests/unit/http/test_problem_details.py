"""Every error that a request may meet has an answer, also one that was added later."""

import json
from http import HTTPStatus

import pytest

from aggregator.http.problem_details import foreseen_problem
from aggregator.wire.errors import (
    InvalidRequest,
    MalformedBody,
    TooLarge,
    UnsupportedMediaType,
    WireError,
)


class TooManyEvents(TooLarge):
    """A kind of error that nobody gave a status of its own."""


class TeaOnly(WireError):
    """One that has its own."""

    status = HTTPStatus.IM_A_TEAPOT


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MalformedBody("no JSON"), 400),
        (TooLarge("too large"), 413),
        (TooManyEvents("too many"), 413),
        (UnsupportedMediaType("text/plain"), 415),
        (InvalidRequest("a rule"), 422),
        (TeaOnly("no coffee"), 418),
    ],
)
def test_an_error_of_a_request_has_its_own_status_or_that_of_its_kind(
    error: WireError, status: int
) -> None:
    problem = foreseen_problem(error)
    assert problem is not None
    assert problem.status == status
    content = json.loads(problem.content)
    assert (content["status"], content["detail"]) == (status, str(error))

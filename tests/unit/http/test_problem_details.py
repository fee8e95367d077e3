"""Every error that a request may meet has an answer, also one that was added later."""

import asyncio
import json
from http import HTTPStatus

import pytest

from aggregator.http.problem_details import foreseen_problem
from aggregator.observability.metrics.flushes import failure_reason
from aggregator.wire.errors import (
    InvalidRequest,
    MalformedBody,
    TooLarge,
    UnsupportedMediaType,
    WireError,
)
from storage.errors import BatchRefused, OutcomeUnknown, StorageUnavailable


class TooManyEvents(TooLarge):
    """A kind of error that nobody gave a status of its own."""


class TeaOnly(WireError):
    """One that has its own."""

    status = HTTPStatus.IM_A_TEAPOT


class Away(StorageUnavailable):
    """A kind of unavailability."""


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


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Away("away"), "unavailable"),
        (StorageUnavailable("away"), "unavailable"),
        (type("Odd", (BatchRefused,), {})("no"), "refused"),
        (type("Odd", (OutcomeUnknown,), {})("who knows"), "unknown"),
        (asyncio.CancelledError(), "drained"),
        (ZeroDivisionError(), "unforeseen"),
    ],
)
def test_a_failed_flush_has_the_reason_of_its_kind(error: BaseException, reason: str) -> None:
    assert failure_reason(error) == reason

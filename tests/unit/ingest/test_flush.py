"""The outcome of a flush, in one word, also of an error that was added later."""

import asyncio

import pytest

from aggregator.ingest.flush import Flush, FlushOutcome
from storage.errors import BatchRefused, OutcomeUnknown, StorageUnavailable


class Away(StorageUnavailable):
    """A kind of unavailability."""


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "committed"),
        (Away("away"), "unavailable"),
        (StorageUnavailable("away"), "unavailable"),
        (type("Odd", (BatchRefused,), {})("no"), "refused"),
        (type("Odd", (OutcomeUnknown,), {})("who knows"), "unknown"),
        (asyncio.CancelledError(), "drained"),
        (ZeroDivisionError(), "unforeseen"),
    ],
)
def test_a_flush_has_the_outcome_of_the_kind_of_its_error(
    error: BaseException | None, outcome: str
) -> None:
    assert Flush(1, 1, 1.0, error).outcome is FlushOutcome(outcome)

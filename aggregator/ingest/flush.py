"""A flush: one transaction of group commit, with its outcome."""

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from storage.errors import BatchRefused, OutcomeUnknown, StorageUnavailable
from storage.model import Verdict


class FlushOutcome(StrEnum):
    """The outcome of a flush, as the log, the metrics and the spans name it."""

    COMMITTED = "committed"
    UNAVAILABLE = "unavailable"
    """The store was out of reach; nothing is stored."""
    REFUSED = "refused"
    """The store refused an event of the batch; nothing is stored."""
    UNKNOWN = "unknown"
    """COMMIT was not answered: stored as a whole, or not at all."""
    DRAINED = "drained"
    """The drain timeout was exceeded while the store had the batch; the outcome is unknown."""
    UNFORESEEN = "unforeseen"
    """A defect of the program; the outcome is unknown, and the log has the traceback."""

    @classmethod
    def of(cls, error: BaseException | None) -> "FlushOutcome":
        """Return the outcome that an error of `EventAppender.append` means; None: committed."""
        if error is None:
            return cls.COMMITTED
        return next((outcome for kind, outcome in _OF if isinstance(error, kind)), cls.UNFORESEEN)


_OF = (
    (StorageUnavailable, FlushOutcome.UNAVAILABLE),
    (BatchRefused, FlushOutcome.REFUSED),
    (OutcomeUnknown, FlushOutcome.UNKNOWN),
    (asyncio.CancelledError, FlushOutcome.DRAINED),
)


class Flush(msgspec.Struct, frozen=True):
    """One transaction of group commit: its size, its time and its outcome.

    Attributes:
        events: in the transaction.
        requests: that share it.
        duration_ms: from giving the batch to the store until it answered, in milliseconds.
        error: what the store raised; None if the transaction was committed.
        verdicts: one per event; none unless it was committed.
        commit_s: the part of it that COMMIT took, in seconds.
        log_fields: `trace_id` and `span_id` of its span; empty if it is not traced.
    """

    events: int
    requests: int
    duration_ms: float
    error: BaseException | None
    verdicts: Sequence[Verdict] = ()
    commit_s: float = 0.0
    log_fields: Mapping[str, str] = {}

    @property
    def outcome(self) -> FlushOutcome:
        """The outcome in one word."""
        return FlushOutcome.of(self.error)

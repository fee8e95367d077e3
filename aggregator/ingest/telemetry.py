"""What group commit tells whoever traces it, without knowing how that is done."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class TransactionSpan(Protocol):
    """One try to have a batch committed."""

    def end(self, error: BaseException | None) -> None:
        """The store has answered; None: committed."""


class FlushSpan(Protocol):
    """One batch, from when the store is given it to the end of its last try."""

    @property
    def names(self) -> Mapping[str, str]:
        """`trace_id` and `span_id`, for its log lines."""
        ...

    def transaction(self, *, events: int, requests: int) -> TransactionSpan:
        """A try begins, with so many events of so many requests."""
        ...

    def end(self) -> None:
        """There will be no more tries."""


TraceFlush = Callable[[int, Sequence[object]], FlushSpan | None]
"""Told of a batch that the store is about to be given: how many events it has, and the origin of
each of its requests, as it came with it. None: it is not traced."""

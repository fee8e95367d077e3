"""The refusals of access control."""

from collections.abc import Sequence
from typing import NamedTuple

from aggregator.wire.errors import FieldError


class Forbidden(Exception):
    """A request asks for what its sender may not do; the message is one sentence.

    It is decided by names and patterns alone, so it is the same whether what is named exists.

    Args:
        sentence: what is not allowed, to whom.
        errors: the events of a publish that are not allowed, bounded in number.
    """

    def __init__(self, sentence: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(sentence)
        self.errors = list(errors)


class Quota(NamedTuple):
    """A quota that a sender is told of.

    Args:
        name: of the limit.
        amount: how much is allowed.
        window_s: in so many seconds; None: at once.
        unit: of the amount, as the headers of rate limits name it; None: they have none for it.
    """

    name: str
    amount: int
    window_s: int | None
    unit: str | None


class OverLimit(Exception):
    """A request is over a limit of its sender's entry; the message is one sentence.

    Args:
        sentence: which limit, of whom.
        quota: the limit.
        left: what is left of it.
        retry_after_s: after how many seconds the same request may be within it.
    """

    def __init__(self, sentence: str, quota: Quota, *, left: int = 0, retry_after_s: int) -> None:
        super().__init__(sentence)
        self.quota = quota
        self.left = left
        self.retry_after_s = retry_after_s

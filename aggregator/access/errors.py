"""The refusals of access control."""

from collections.abc import Sequence

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

"""Links: connections to databases as checkpoints use them, whatever their driver."""

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

from subscriber.checkpoints.errors import TransactionEnded
from subscriber.checkpoints.segments import Change, Segment

T = TypeVar("T")

SAVEPOINT_NAME = "subscriber_checkpoint"


class Link(ABC):
    """A connection as one checkpoint uses it, from `begin` to `commit` or `rollback`.

    The coroutines of a link that blocks never wait, so that they can be run without an event loop.
    """

    blocks: ClassVar[bool]
    """Whether the calls of its driver block."""
    is_awaited: ClassVar[bool]
    """Whether `async with` is for it."""
    locks_first: ClassVar[bool]
    """Whether `look` keeps other consumers from the rows until the transaction ends."""

    @property
    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether the connection is in a transaction; one that is closed, or released, is not."""

    @abstractmethod
    async def begin(self) -> None:
        """Open a transaction, or a savepoint in the one that is open.

        Nothing is left behind if it raises.
        """

    @abstractmethod
    async def look(self, subscription: str, segments: Sequence[Segment]) -> list[bytes]:
        """Look at the rows of segments.

        Args:
            subscription: its name.
            segments: sorted.

        Returns:
            The bitmap of each.

        Raises:
            CheckpointTableMissing: there is no table.
        """

    @abstractmethod
    async def lock(self, subscription: str, segments: Sequence[Segment]) -> list[bytes]:
        """Lock the rows of segments against other consumers until the transaction ends.

        Args:
            subscription: its name.
            segments: sorted.

        Returns:
            The bitmap of each, as it is with the lock held.

        Raises:
            TransactionEnded: the transaction is not the one that `begin` opened or joined.
        """

    @abstractmethod
    async def write(self, subscription: str, changes: Sequence[Change]) -> None:
        """Write bitmaps of rows that are locked.

        Args:
            subscription: its name.
            changes: at least one.

        Raises:
            CheckpointDamaged: a row can't be changed.
            TransactionEnded: the transaction is not the one that `begin` opened or joined.
        """

    @abstractmethod
    async def commit(self) -> None:
        """Commit the transaction, or release the savepoint.

        Where it raises, `rollback` is called next.
        """

    @abstractmethod
    async def rollback(self, error: BaseException) -> None:
        """Undo everything since `begin`, also after a `commit` that raised.

        Args:
            error: why.
        """

    @abstractmethod
    async def create_table(self) -> None:
        """Create the table unless it is there, also where other processes do it now."""


def without_waiting(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of a link that blocks, and return what it returns."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    coroutine.close()
    raise RuntimeError("a call of a driver that blocks has waited for an event loop")


def transaction_ended() -> TransactionEnded:
    """Return the error for a block that ended its transaction."""
    return TransactionEnded(
        "the transaction of a checkpoint was committed or rolled back inside its block, so its"
        " events were not noted as done: leave that to the end of the block"
    )

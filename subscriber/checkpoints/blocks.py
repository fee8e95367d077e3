"""Checkpoints, as `with` and `async with` enter and leave them."""

import threading
from collections.abc import Sequence
from enum import Enum
from types import TracebackType
from weakref import WeakValueDictionary

from subscriber.checkpoints.errors import ConnectionInCheckpoint, DoneElsewhere
from subscriber.checkpoints.link import Link, without_waiting
from subscriber.checkpoints.segments import Change, HandedOut, mark, segments_of
from subscriber.errors import TransactionOpen
from subscriber.events import Event


class _Stage(Enum):
    """How far the block of a checkpoint is."""

    NOT_BEGUN = "not begun"
    OPEN = "open"
    UNDONE = "undone"
    COMMITTED = "committed"
    JOINED = "ended, in a transaction that goes on"


class OpenBlocks:
    """Knows which connections are in the block of a checkpoint.

    A second block would be a savepoint in the first one's transaction, and be undone with it after
    its events were acknowledged; or find its rows as they were before the first has written them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # A block that is never left goes with its connection.
        self._blocks: WeakValueDictionary[int, Block] = WeakValueDictionary()

    def add(self, connection: object, block: "Block") -> None:
        """Add a block that begins.

        Raises:
            ConnectionInCheckpoint: the connection is in another one.
        """
        with self._lock:
            if id(connection) in self._blocks:
                raise ConnectionInCheckpoint(
                    "the connection is in the block of another checkpoint: give each handler that"
                    " runs beside others a connection of its own, and a checkpoint all its events"
                )
            self._blocks[id(connection)] = block

    def remove(self, connection: object) -> None:
        """Remove the block of a connection."""
        with self._lock:
            del self._blocks[id(connection)]


_open_blocks = OpenBlocks()


class Block:
    """The block of a checkpoint, from its first statement to its last.

    Args:
        connection: as the caller has it.
        link: to that connection.
        subscription: its name.
        deliveries: of the batch.
    """

    def __init__(
        self, connection: object, link: Link, subscription: str, deliveries: Sequence[HandedOut]
    ) -> None:
        self._connection = connection
        self._link = link
        self._subscription = subscription
        self._deliveries = deliveries
        self._fresh: Sequence[HandedOut] = ()
        self._changes: Sequence[Change] = ()
        self._stage = _Stage.NOT_BEGUN

    async def enter(self) -> list[Event]:
        """Begin, and return the events that are not done."""
        if self._stage is not _Stage.NOT_BEGUN:
            raise RuntimeError("a checkpoint is entered once: make another one")
        _open_blocks.add(self._connection, self)
        self._stage = _Stage.OPEN
        # They keep the block for its check; it does not keep them.
        deliveries, self._deliveries = self._deliveries, ()
        for delivery in deliveries:
            delivery.before_ack(self._check_ack)
        try:
            await self._link.begin()
            try:
                segments = segments_of(deliveries)
                found = await self._link.look(self._subscription, segments)
                self._fresh, self._changes = mark(deliveries, segments, found)
                return [delivery.event for delivery in self._fresh]
            except BaseException as error:
                await self._undo(error)
                raise
        except BaseException:
            self._end(_Stage.UNDONE)
            raise

    async def leave(self, error: BaseException | None) -> None:
        """Write what is done now, and end; or undo everything because of an error."""
        stage = _Stage.UNDONE
        try:
            if error is not None:
                await self._undo(error)
                return
            try:
                if self._fresh:
                    await self._note()
                await self._link.commit()
            except BaseException as failure:
                await self._undo(failure)
                raise
            stage = _Stage.JOINED if self._link.in_transaction else _Stage.COMMITTED
        finally:
            self._end(stage)

    async def _note(self) -> None:
        """Note the events as done.

        Raises:
            DoneElsewhere: another consumer has done one of them since they were looked at.
        """
        if not self._link.locks_first:
            segments = segments_of(self._fresh)
            found = await self._link.lock(self._subscription, segments)
            still_fresh, self._changes = mark(self._fresh, segments, found)
            if len(still_fresh) < len(self._fresh):
                raise DoneElsewhere(
                    f"of {len(self._fresh)} events another consumer has done"
                    f" {len(self._fresh) - len(still_fresh)} meanwhile, so this block was undone:"
                    " one of the two has lost its lease"
                )
        await self._link.write(self._subscription, self._changes)

    async def _undo(self, error: BaseException) -> None:
        try:
            await self._link.rollback(error)
        except Exception as failure:  # noqa: BLE001 - the error is what has to be told
            error.add_note(f"the rollback failed, too: {failure!r}")

    def _end(self, stage: _Stage) -> None:
        self._stage = stage
        _open_blocks.remove(self._connection)

    def _check_ack(self) -> None:
        if self._stage is _Stage.OPEN:
            raise TransactionOpen(
                "events are to be acknowledged inside the block of their checkpoint: do it behind"
                " the block, or let the end of the handler do it"
            )
        if self._stage is _Stage.JOINED:
            if self._link.in_transaction:
                raise TransactionOpen(
                    "events are to be acknowledged while the connection of their checkpoint, which"
                    " joined a transaction, is in one: commit before, and run no statement behind"
                    " it that begins another"
                )
            # Asked again, the connection may be in the next transaction.
            self._stage = _Stage.COMMITTED


class Checkpoint:
    """A checkpoint on a connection whose methods are awaited: `async with`."""

    def __init__(self, block: Block) -> None:
        self._block = block

    async def __aenter__(self) -> list[Event]:
        return await self._block.enter()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._block.leave(error)


class BlockingCheckpoint:
    """A checkpoint on a connection whose methods block: `with`."""

    def __init__(self, block: Block) -> None:
        self._block = block

    def __enter__(self) -> list[Event]:
        return without_waiting(self._block.enter())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        without_waiting(self._block.leave(error))


class EitherCheckpoint(Checkpoint, BlockingCheckpoint):
    """A checkpoint on a connection of sqlite3: `with` or `async with`."""

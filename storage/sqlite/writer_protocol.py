"""The messages between a store and its SQLite writer process, in MessagePack.

Three sockets connect them. One carries questions, which must not wait behind batches; one carries
batches; one carries errands, the commands of subscriptions, which do not wait behind batches
either. What a message is says its tag, and neither side reads one that does not belong on its
socket.
"""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from storage.errors import (
    BatchRefused,
    OutcomeUnknown,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)
from storage.model import Event, Verdict
from storage.subscriptions.commands import Command
from storage.subscriptions.outcomes import Outcome


class OpenRequest(msgspec.Struct, array_like=True, tag=0):
    """Open the file, once; the first of all messages.

    Args:
        number: the number of the reply.
        writer_id: the id of the store, for the table of writers.
        program: the version of this program, for the same.
        expected: the identities of the files that the reader has open; empty if it has none yet.
    """

    number: int
    writer_id: str
    program: str
    expected: Sequence[tuple[int, int]]


class PingRequest(msgspec.Struct, array_like=True, tag=1):
    """Check that an append could succeed now."""

    number: int


class AppendRequest(msgspec.Struct, array_like=True, tag=2):
    """Store a batch."""

    number: int
    batch: Sequence[Event]


class CommandRequest(msgspec.Struct, array_like=True, tag=3):
    """Do commands of subscriptions, in one transaction."""

    number: int
    commands: Sequence[Command]


class ForgetRequest(msgspec.Struct, array_like=True, tag=4):
    """Forget settles, so many at most."""

    number: int
    limit: int


class OpenReply(msgspec.Struct, array_like=True, tag=0):
    """The file is open.

    Args:
        number: the number of the request.
        files: the identities of the files that were opened; see `FileGuard.identities`.
    """

    number: int
    files: Sequence[tuple[int, int]]


class PingReply(msgspec.Struct, array_like=True, tag=1):
    """An append could succeed now."""

    number: int


class AppendReply(msgspec.Struct, array_like=True, tag=2):
    """The batch is stored.

    Args:
        number: the number of the request.
        verdicts: one for each event, in the order of the batch.
        commit_s: the seconds that COMMIT took.
    """

    number: int
    verdicts: list[Verdict]
    commit_s: float


class Failure(msgspec.Struct, array_like=True, tag=3):
    """The reply to a request that failed.

    Args:
        number: the number of the request.
        kind: the name of the storage error; any other is an unexpected error.
        message: its message.
        traceback: where an unexpected error was raised.
        damage: what is wrong with the database file, if that is known.
    """

    number: int
    kind: str
    message: str
    traceback: str | None = None
    damage: str | None = None


class CommandReply(msgspec.Struct, array_like=True, tag=4):
    """The commands are done.

    Args:
        number: the number of the request.
        outcomes: one for each command, in their order.
    """

    number: int
    outcomes: list[Outcome]


class ForgetReply(msgspec.Struct, array_like=True, tag=5):
    """They are forgotten.

    Args:
        number: the number of the request.
        more: whether there are more.
    """

    number: int
    more: bool


Question: TypeAlias = OpenRequest | PingRequest
Answer: TypeAlias = OpenReply | PingReply | Failure
"""The reply to a question."""
AppendOutcome: TypeAlias = AppendReply | Failure
"""The reply to a batch."""
Errand: TypeAlias = CommandRequest | ForgetRequest
ErrandOutcome: TypeAlias = CommandReply | ForgetReply | Failure
"""The reply to an errand of subscriptions."""

encode = msgspec.msgpack.encode
decode_question = msgspec.msgpack.Decoder(Question).decode
decode_append = msgspec.msgpack.Decoder(AppendRequest).decode
decode_errand = msgspec.msgpack.Decoder(Errand).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
decode_append_outcome = msgspec.msgpack.Decoder(AppendOutcome).decode
decode_errand_outcome = msgspec.msgpack.Decoder(ErrandOutcome).decode

_ERRORS: dict[str, type[StorageError]] = {
    kind.__name__: kind
    for kind in (
        StorageError,
        StorageUnavailable,
        OutcomeUnknown,
        BatchRefused,
        StorageMisconfigured,
    )
}


def storage_error(failure: Failure) -> StorageError | None:
    """Return the storage error that a failure reports; None for an unexpected one."""
    kind = _ERRORS.get(failure.kind)
    return kind(failure.message) if kind is not None else None

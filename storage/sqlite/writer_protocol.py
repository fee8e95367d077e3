"""The messages between a store and its SQLite writer process, in MessagePack.

Two sockets connect them. One carries questions, which must not wait behind batches; the other
carries batches. What a message is says its tag, and neither side reads one that does not belong
on its socket.
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


Question: TypeAlias = OpenRequest | PingRequest
Answer: TypeAlias = OpenReply | PingReply | Failure
"""The reply to a question."""
AppendOutcome: TypeAlias = AppendReply | Failure
"""The reply to a batch."""

encode = msgspec.msgpack.encode
decode_question = msgspec.msgpack.Decoder(Question).decode
decode_append = msgspec.msgpack.Decoder(AppendRequest).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
decode_append_outcome = msgspec.msgpack.Decoder(AppendOutcome).decode

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

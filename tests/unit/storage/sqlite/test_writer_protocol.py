"""The messages between a store and its writer process: each has its tag, and its socket."""

from collections.abc import Callable

import msgspec
import pytest
from support.commands import creation, lease
from support.events import event

from storage.errors import (
    BatchRefused,
    OutcomeUnknown,
    StorageError,
    StorageMisconfigured,
    StorageUnavailable,
)
from storage.model import Status, Verdict
from storage.sqlite.writer_protocol import (
    AppendReply,
    AppendRequest,
    CommandReply,
    CommandRequest,
    Failure,
    ForgetReply,
    ForgetRequest,
    OpenReply,
    OpenRequest,
    PingReply,
    PingRequest,
    decode_answer,
    decode_append,
    decode_append_outcome,
    decode_errand,
    decode_errand_outcome,
    decode_question,
    encode,
    storage_error,
)
from storage.subscriptions.outcomes import Done, Refusal

FILES = [(1, 2), (3, 4), (5, 6)]
BATCH = [event("t", "a"), event("t", "b")]
VERDICTS = [Verdict("t", "a", Status.STORED, 1)]
OPEN, PING, APPEND = OpenRequest(1, "w", "0.1.0", FILES), PingRequest(2), AppendRequest(3, BATCH)
OPENED, PONG, APPENDED = OpenReply(1, FILES), PingReply(2), AppendReply(3, VERDICTS, 0.5)
COMMANDS, FORGET = CommandRequest(4, [creation(), lease()]), ForgetRequest(5, 100)
DONE, FORGOTTEN = CommandReply(4, [Done(), Refusal("lease_lost", "no")]), ForgetReply(5, True)
FAILED = Failure(3, "BatchRefused", "no", damage="all of it")


@pytest.mark.parametrize(
    ("decode", "messages"),
    [
        (decode_question, [OPEN, PING]),
        (decode_append, [APPEND]),
        (decode_errand, [COMMANDS, FORGET]),
        (decode_answer, [OPENED, PONG, FAILED]),
        (decode_append_outcome, [APPENDED, FAILED]),
        (decode_errand_outcome, [DONE, FORGOTTEN, FAILED]),
    ],
)
def test_a_message_arrives_as_what_it_is(
    decode: Callable[[bytes], msgspec.Struct], messages: list[msgspec.Struct]
) -> None:
    for message in messages:
        decoded = decode(encode(message))
        assert type(decoded) is type(message)
        assert encode(decoded) == encode(message)


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        (decode_question, APPEND),
        (decode_append, OPEN),
        (decode_append, PING),
        (decode_append, COMMANDS),
        (decode_question, FORGET),
        (decode_errand, APPEND),
        (decode_errand, PING),
        (decode_answer, APPENDED),
        (decode_append_outcome, OPENED),
        (decode_append_outcome, PONG),
        (decode_append_outcome, DONE),
        (decode_errand_outcome, APPENDED),
    ],
)
def test_a_message_on_the_wrong_socket_is_none(
    decode: Callable[[bytes], object], message: msgspec.Struct
) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(encode(message))


@pytest.mark.parametrize(
    "error", [StorageUnavailable, OutcomeUnknown, BatchRefused, StorageMisconfigured, StorageError]
)
def test_a_storage_error_arrives_as_itself(error: type[StorageError]) -> None:
    arrived = storage_error(Failure(1, error.__name__, "what happened"))
    assert type(arrived) is error
    assert str(arrived) == "what happened"


@pytest.mark.parametrize("kind", ["OverflowError", "Exception", "PayloadOverLimit", ""])
def test_any_other_error_is_an_unexpected_one(kind: str) -> None:
    assert storage_error(Failure(1, kind, "its own words")) is None


def test_a_batch_has_no_more_around_it_than_its_number_and_its_tag() -> None:
    assert len(encode(APPEND)) == len(encode(BATCH)) + 3
    assert len(encode(APPENDED)) == len(encode(VERDICTS)) + 3 + len(encode(0.5))

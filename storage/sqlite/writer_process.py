"""The SQLite writer process: writes one file for the store that started it.

python -m storage.sqlite.writer_process QUESTIONS APPENDS ERRANDS PATH BUSY_TIMEOUT_MS

QUESTIONS, APPENDS and ERRANDS are the numbers of its ends of three sockets (see
`storage.sqlite.writer_protocol`). It ends when their other ends are closed, after what is under
way, and at no signal but SIGKILL: the process that started it decides.

It needs no event loop: one thread answers questions, one stores batches, one does commands of
subscriptions, and what they wait for is a socket or SQLite. So it imports little, and is there
soon.
"""

import faulthandler
import gc
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from storage.errors import StorageError
from storage.sqlite.framing import receive, send
from storage.sqlite.writer import SqliteWriter
from storage.sqlite.writer_protocol import (
    Answer,
    AppendOutcome,
    AppendReply,
    AppendRequest,
    CommandReply,
    CommandRequest,
    Errand,
    ErrandOutcome,
    Failure,
    ForgetReply,
    ForgetRequest,
    OpenReply,
    OpenRequest,
    PingReply,
    PingRequest,
    Question,
    decode_append,
    decode_errand,
    decode_question,
    encode,
)

Reply: TypeAlias = Answer | AppendOutcome | ErrandOutcome

_COLLECT_EVERY = 20_000
"""Allocations between two collections: a batch makes thousands of objects, and no cycles."""


def serve(
    writer: SqliteWriter, questions: socket.socket, appends: socket.socket, errands: socket.socket
) -> None:
    """Answer requests until the other ends of the sockets are closed; close the writer.

    Args:
        writer: not opened yet.
        questions: for what may not have to wait for a batch that is being stored.
        appends: for batches.
        errands: for commands of subscriptions.
    """

    def start(connection: socket.socket, handle: Callable[[bytes], Reply]) -> threading.Thread:
        def run() -> None:
            try:
                with connection:
                    _serve(connection, handle)
            finally:
                # Without it there is nothing left to be here for, whatever ended it.
                with suppress(OSError):
                    questions.shutdown(socket.SHUT_RD)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    others = [
        start(appends, lambda message: _append(writer, decode_append(message))),
        start(errands, lambda message: _run(writer, decode_errand(message))),
    ]
    try:
        with questions:
            _serve(questions, lambda message: _answer(writer, decode_question(message)))
    finally:
        # The other end closes all: with nobody to answer questions, or when it has sent its last.
        for thread in others:
            thread.join()
        writer.close()


def _serve(connection: socket.socket, handle: Callable[[bytes], Reply]) -> None:
    # Whoever is gone needs no reply; what was stored is stored.
    with connection.makefile("rb") as received, suppress(OSError):
        while message := receive(received):
            send(connection, encode(handle(message)))


def _answer(writer: SqliteWriter, question: Question) -> Answer:
    try:
        match question:
            case OpenRequest(number, writer_id, program, expected):
                return OpenReply(number, writer.open(writer_id, program, expected))
            case PingRequest(number):
                writer.ping()
                return PingReply(number)
    except Exception as error:  # noqa: BLE001 - the other end has to deal with it
        return _failure(writer, question.number, error)


def _append(writer: SqliteWriter, request: AppendRequest) -> AppendOutcome:
    try:
        verdicts, commit_s = writer.append(request.batch)
        return AppendReply(request.number, verdicts, commit_s)
    except Exception as error:  # noqa: BLE001 - the other end has to deal with it
        return _failure(writer, request.number, error)


def _run(writer: SqliteWriter, request: Errand) -> ErrandOutcome:
    try:
        match request:
            case CommandRequest(number, commands):
                return CommandReply(number, writer.apply(commands))
            case ForgetRequest(number, limit):
                return ForgetReply(number, writer.forget_settles(limit))
    except Exception as error:  # noqa: BLE001 - the other end has to deal with it
        return _failure(writer, request.number, error)


def _failure(writer: SqliteWriter, number: int, error: Exception) -> Failure:
    trace = None
    if not isinstance(error, StorageError):
        # Imported by whoever needs it: a process that starts should not wait for it.
        from traceback import format_exception  # noqa: PLC0415

        trace = "".join(format_exception(error))
    return Failure(
        number,
        type(error).__name__,
        str(error),
        traceback=trace,
        damage=writer.damage.sentence,
    )


def main() -> None:
    """Run what the command line asks for."""
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)
    # What the process that started it reads there tells where it was when it crashed.
    faulthandler.enable()
    *numbers, path, busy_timeout_ms = sys.argv[1:]
    gc.set_threshold(_COLLECT_EVERY, 10, 10)
    writer = SqliteWriter(Path(path), busy_timeout_s=int(busy_timeout_ms) / 1000)
    questions, appends, errands = (socket.socket(fileno=int(number)) for number in numbers)
    serve(writer, questions, appends, errands)


if __name__ == "__main__":
    main()

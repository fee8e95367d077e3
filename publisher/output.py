"""What the commands print, also for a reader that goes away before the end of it."""

import os
import sys
from typing import TextIO


class CannotPrint(Exception):
    """Standard output takes nothing; the message is one sentence."""


def put(text: str) -> None:
    """Print a text on standard output, at once. A reader that has gone away gets no more of it.

    Raises CannotPrint for any other failure.
    """
    if sys.stdout is None:
        return  # closed by whoever started this: nobody wants it
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop(sys.stdout)
    except OSError as error:
        _drop(sys.stdout)
        raise CannotPrint(f"cannot write to standard output: {error.strerror}") from error


def tell(text: str) -> None:
    """Print a text on standard error; what can't be printed there can be told to nobody."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _drop(sys.stderr)


def _drop(stream: TextIO) -> None:
    """Let what Python still holds for a stream, and writes at the end, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)

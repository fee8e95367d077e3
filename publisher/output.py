"""Output of the commands, which survives a reader that goes away."""

import os
import sys
from typing import TextIO


class CannotPrint(Exception):
    """Standard output can't be written; the message is one sentence."""


def put(text: str) -> None:
    """Print a text on standard output and flush it, ignoring a reader that has gone away.

    Args:
        text: the text, with its newlines.

    Raises:
        CannotPrint: the write failed for another reason.
    """
    if sys.stdout is None:
        return  # closed before the start: the output is not wanted
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop(sys.stdout)
    except OSError as error:
        _drop(sys.stdout)
        raise CannotPrint(f"cannot write to standard output: {error.strerror}") from error


def tell(text: str) -> None:
    """Print a text on standard error, ignoring failures, which could be printed nowhere.

    Args:
        text: the text, with its newlines.
    """
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _drop(sys.stderr)


def _drop(stream: TextIO) -> None:
    """Redirect a stream to the null device, also for what Python writes to it at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)

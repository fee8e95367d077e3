"""Standard output and error whose reader may go away before the end."""

import os
import sys
from typing import TextIO

CLOSED = "standard output is closed; send it somewhere, to /dev/null for example"


def drop(stream: TextIO) -> None:
    """Let what Python still holds for a stream, and writes at the end, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def tell(sentence: str) -> None:
    """Print a sentence on standard error; what can't be printed there can be told to nobody."""
    if sys.stderr is None:
        return
    try:
        print(f"aggregator: {sentence}", file=sys.stderr, flush=True)  # noqa: T201
    except OSError:
        drop(sys.stderr)


def finish() -> str | None:
    """Flush standard output; returns a sentence if it takes no more.

    A reader that has gone away has seen enough, which is no failure.
    """
    if sys.stdout is None:
        return None
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop(sys.stdout)
    except OSError as error:
        drop(sys.stdout)
        return f"can't write to standard output: {error.strerror}"
    return None

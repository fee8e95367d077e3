"""How a client that is a process of its own tells what it found; it imports nothing else."""

import json
import sys


class NotServed(Exception):
    """A server does not offer what was to be measured; the message is the reason."""


def report(**result: object) -> None:
    """Print the result of a client as one line of JSON."""
    sys.stdout.write(f"{json.dumps(result)}\n")
    sys.stdout.flush()

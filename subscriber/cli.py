"""What the commands share: the program's name, and a type of arguments."""

import argparse
import re

PROGRAM = "python -m subscriber"

_PATTERN = re.compile(r"[A-Za-z0-9._*-]{1,249}")


def topics(text: str) -> str:
    """The name of a topic, or a pattern of names; the aggregator knows the rules of patterns."""
    if not _PATTERN.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 1 to 249 characters of A-Z a-z 0-9 . _ - and *"
        )
    return text

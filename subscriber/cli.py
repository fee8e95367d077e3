"""What the commands share: the program's name, types of arguments, and numbers in sentences."""

import argparse
import re

PROGRAM = "python -m subscriber"

_MAX_LABEL = 256
_PATTERN = re.compile(r"[A-Za-z0-9._*-]{1,249}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_OFFSET = re.compile(r"[0-9]{1,18}")


def topics(text: str) -> str:
    """The name of a topic, or a pattern of names; the aggregator knows the rules of patterns."""
    if not _PATTERN.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 1 to 249 characters of A-Z a-z 0-9 . _ - and *"
        )
    return text


def subscription(text: str) -> str:
    """The name of a subscription."""
    if not _NAME.fullmatch(text) or text in {".", ".."}:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 1 to 249 characters of A-Z a-z 0-9 . _ -, other than . and .."
        )
    return text


def consumer(text: str) -> str:
    """The label of a consumer."""
    if not (1 <= len(text) <= _MAX_LABEL and text.isprintable()):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to {_MAX_LABEL} printable characters")
    return text


def topic_offset(text: str) -> tuple[str, int]:
    """An offset of a topic: TOPIC=N."""
    return _place(text, "=", "TOPIC=N, such as orders=17")


def event_place(text: str) -> tuple[str, int]:
    """The place of an event: TOPIC/OFFSET."""
    return _place(text, "/", "TOPIC/OFFSET, such as orders/17")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: 1 event, 1,200 events."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _place(text: str, between: str, form: str) -> tuple[str, int]:
    topic, _, offset = text.rpartition(between)
    if not _NAME.fullmatch(topic) or not _OFFSET.fullmatch(offset):
        raise argparse.ArgumentTypeError(f"{text!r} is not {form}")
    return topic, int(offset)

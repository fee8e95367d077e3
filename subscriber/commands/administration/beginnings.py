"""The options that say where a subscription begins, or is moved to."""

import argparse
from collections.abc import Iterable

from subscriber.cli import topic_offset
from subscriber.commands.asking import Impossible


def add_to(parser: argparse._ActionsContainer, at: str, offset: str) -> None:
    """Add the options.

    Args:
        parser: of the command.
        at: the option that takes `start` or `now`.
        offset: the option that takes offsets.
    """
    parser.add_argument(
        at,
        dest="at",
        choices=("start", "now"),
        help="with the first event of each topic, or behind what is there",
    )
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="with what was stored since then: 90s, 5m, 2h, 3d, or 2026-01-31T12:00:00Z",
    )
    parser.add_argument(
        offset,
        dest="offsets",
        metavar="TOPIC=N",
        nargs="+",
        action="extend",
        type=topic_offset,
        help="behind this offset of a topic; for several topics at once, too",
    )


def beginning(parsed: argparse.Namespace, options: str) -> object:
    """Return where it begins, as requests have it; None: the command line does not say.

    Args:
        parsed: the command line.
        options: the names of the options, for people.

    Raises:
        Impossible: several options say it, or two offsets are given for a topic.
    """
    given = [value for value in (parsed.at, parsed.since, parsed.offsets) if value is not None]
    if len(given) > 1:
        raise Impossible(f"only one of {options} says where to begin")
    if parsed.since is not None:
        return {"since": parsed.since}
    if parsed.offsets is not None:
        return {"offsets": _by_topic(parsed.offsets)}
    return parsed.at


def _by_topic(offsets: Iterable[tuple[str, int]]) -> dict[str, int]:
    by_topic: dict[str, int] = {}
    for topic, offset in offsets:
        if by_topic.setdefault(topic, offset) != offset:
            raise Impossible(f"two offsets are given for {topic!r}: {by_topic[topic]} and {offset}")
    return by_topic

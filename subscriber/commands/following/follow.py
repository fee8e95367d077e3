"""The command `python -m subscriber follow`."""

import argparse
import asyncio
import math
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

from yarl import URL

from publisher import connection_options
from publisher.cli import (
    DONE,
    FAILED,
    INTERRUPTED,
    USAGE,
    Commands,
    above_zero,
    whole_number,
)
from subscriber import cli
from subscriber.commands import formats
from subscriber.commands.following.narrator import Narrator
from subscriber.commands.following.newest import Newest
from subscriber.commands.following.position_file import Followed, PositionFile, PositionFileRefused
from subscriber.commands.following.tail import Tail
from subscriber.commands.standard_output import ReaderGone, StandardOutput
from subscriber.errors import FollowError, FollowRefused
from subscriber.follow import follow
from subscriber.following import Following
from subscriber.policy import ReconnectPolicy

_UNPROCESSABLE = 422
_POLICY = ReconnectPolicy()
_EPILOG = """\
It follows until Ctrl-C or SIGTERM, over restarts of the aggregator; on standard error it says what
it waits for. Without one of the options of the second group it begins with what comes from now on.

exit status: 0 when stopped, when its reader has gone, or when all is there (--until-caught-up);
1 when events are missing, it was refused, gave up, or can't print; 2 when the command line is
wrong or the position file can't be used; 130 when interrupted before --until-caught-up was done.
"""


def add_to(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "follow",
        help="print the events of topics as they come, like tail -f",
        description="Print the events of topics, and those that come, like tail -f.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, program=parser.prog)
    parser.add_argument(
        "topics",
        metavar="TOPIC",
        nargs="+",
        type=cli.topics,
        help="a name, or a pattern such as 'orders.*' or 'orders.**' (quoted for the shell)",
    )
    connection_options.add_to(parser)
    parser.add_argument("--source", metavar="NAME", help="only events of this source")
    begin = parser.add_argument_group("where to begin")
    begin.add_argument(
        "--from",
        dest="start",
        choices=("start", "now"),
        help="with the first event of each topic, or with what comes (default: now)",
    )
    begin.add_argument(
        "--after",
        metavar="N",
        type=whole_number(0, 10**18 - 1),
        help="behind this offset; for a single topic that is no pattern",
    )
    begin.add_argument(
        "--last",
        metavar="N",
        type=whole_number(1, 5000),
        help="with the newest events of each topic, this many, 1 to 5,000; with --since, at most "
        "this many of each topic",
    )
    begin.add_argument(
        "--since",
        metavar="TIME",
        help="with what was stored since then: 90s, 5m, 2h, 3d, or 2026-01-31T12:00:00Z",
    )
    begin.add_argument(
        "--position-file",
        metavar="FILE",
        type=Path,
        help="go on where the last run with this file ended, and keep the place in it. The options "
        "above are for the first time. It is written every second behind what was printed: after a "
        "crash some events are printed again, and none is missing",
    )
    printing = parser.add_argument_group("what to print")
    formats.add_to(
        printing,
        json="an event a line",
        text="time, topic, offset, source and payload",
    )
    ending = parser.add_argument_group("when to end")
    ending.add_argument(
        "--until-caught-up",
        action="store_true",
        help="once everything that was there is printed",
    )
    ending.add_argument(
        "--give-up-after",
        metavar="SECONDS",
        type=above_zero("seconds"),
        default=math.inf,
        help="after this many seconds without a stream (default: never)",
    )
    ending.add_argument(
        "--silence",
        metavar="SECONDS",
        type=above_zero("seconds"),
        default=_POLICY.silence_s,
        help="take a connection for dead that was silent for this long, and make another; longer "
        "than the aggregator's --stream-heartbeat-ms (default: %(default)g seconds)",
    )


class _Usage(Exception):
    """What was asked for can't be; the message is one sentence."""


def run(parsed: argparse.Namespace) -> int:
    """Run the command; gives its exit status."""
    narrator = Narrator(parsed.program)
    try:
        was_stopped = asyncio.run(_follow(parsed, narrator))
    except ReaderGone:
        pass  # as after the end of any pipe
    except (_Usage, PositionFileRefused) as error:
        narrator.say(str(error))
        return USAGE
    except FollowRefused as error:
        narrator.say(str(error))
        return USAGE if error.status == _UNPROCESSABLE else FAILED
    except FollowError as error:
        narrator.say(str(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    else:
        if was_stopped and parsed.until_caught_up:
            return INTERRUPTED
    return FAILED if narrator.gaps else DONE


async def _follow(parsed: argparse.Namespace, narrator: Narrator) -> bool:
    """Follow, and return whether a signal ended it."""
    places = [parsed.start, parsed.after, parsed.last or parsed.since]
    if sum(place is not None for place in places) > 1:
        raise _Usage("only one of --from, --after and --last or --since says where to begin")
    if sys.stdout is None:
        # Its number is that of any file by now.
        raise _Usage("standard output is closed")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # It is written down, which a password must not be.
    url = str(URL(parsed.url).with_user(None)).rstrip("/")
    followed = Followed(url, sorted(set(parsed.topics)), parsed.source)
    path: Path | None = parsed.position_file
    with nullcontext() if path is None else PositionFile.opened(path, followed) as file:
        position = file.position if file else None
        newest = None
        if position is None and parsed.last and parsed.since:
            newest = Newest(parsed.last)
        output = StandardOutput(sys.stdout.fileno())
        tail = Tail(output, formats.event_line(parsed.format), newest, file)
        following = _following(parsed, position, narrator, tail)
        async with following:
            await tail.run(following, stop)
    return stop.is_set()


def _following(
    parsed: argparse.Namespace, position: str | None, narrator: Narrator, tail: Tail
) -> Following:
    try:
        return follow(
            parsed.url,
            *parsed.topics,
            after=parsed.after,
            start=parsed.start,
            last=None if parsed.since else parsed.last,
            since=parsed.since,
            position=position,
            source=parsed.source,
            until_caught_up=parsed.until_caught_up,
            credentials=parsed.credentials,
            policy=ReconnectPolicy(silence_s=parsed.silence, give_up_after_s=parsed.give_up_after),
            on_wait=narrator.wait,
            on_open=narrator.go_on,
            on_caught_up=tail.caught_up,
            on_gap=narrator.pass_gap,
        )
    except ValueError as error:
        raise _Usage(str(error)) from error

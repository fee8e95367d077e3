"""The command `python -m subscriber create`."""

import argparse
import re
from typing import Any

from publisher.cli import DONE, Commands, whole_number
from publisher.output import put
from subscriber import cli
from subscriber.commands import asking
from subscriber.commands.administration import beginnings
from subscriber.commands.asking import Asking
from subscriber.errors import SubscriptionRefused

_NOT_FOUND = 404
_NUMBER = whole_number(0, 10**9)
_EPILOG = f"""\
Without an option it has the aggregator's default. One that is there with other settings is left as
it is: the command names them, and ends with status 1.

{asking.STATUSES}"""


def add_to(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "create",
        help="make a subscription, unless it is there with these settings",
        description="Make a subscription, unless it is there with these settings.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # Behind the options, of which some take several words, it would be one of these.
    parser.usage = f"{parser.prog} NAME TOPIC [TOPIC ...] [options]"
    parser.set_defaults(run=run, program=parser.prog)
    parser.add_argument("name", metavar="NAME", type=cli.subscription, help="its name")
    parser.add_argument(
        "topics",
        metavar="TOPIC",
        nargs="+",
        type=cli.topics,
        help="a name, or a pattern such as 'orders.*' or 'orders.**' (quoted for the shell)",
    )
    asking.add_to(parser)
    beginnings.add_to(
        parser.add_argument_group("where it begins", "Without any of them, with what comes."),
        "--from",
        "--after",
    )
    _add_settings(parser.add_argument_group("settings"))


def _add_settings(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--source", metavar="NAME", help="only events of this source")
    group.add_argument(
        "--order",
        choices=("topic", "none"),
        help="topic: the events of a topic one after the other; none: consumers compete for them",
    )
    group.add_argument(
        "--lease-ms", metavar="N", type=_NUMBER, help="a lease runs out after so many milliseconds"
    )
    group.add_argument(
        "--max-deliveries", metavar="N", type=_NUMBER, help="an event is dead after so many"
    )
    group.add_argument(
        "--backoff-ms",
        metavar="N,N,...",
        type=_backoffs,
        help="milliseconds before the second, the third, ... delivery of an event; the last number "
        "repeats",
    )
    group.add_argument(
        "--on-dead",
        choices=("continue", "pause"),
        help="whether a topic goes on when it has a dead letter; to pause needs --order topic",
    )
    group.add_argument(
        "--stop-after-dead",
        metavar="N|never",
        type=_stop,
        help="pause the subscription after so many dead letters in a row",
    )
    group.add_argument(
        "--max-leased", metavar="N", type=_NUMBER, help="hand out no more events at a time"
    )


def run(parsed: argparse.Namespace) -> int:
    """Run the command; gives its exit status."""
    return asking.run(parsed, _create)


async def _create(parsed: argparse.Namespace, asks: Asking) -> int:
    settings = _settings(parsed)
    is_there = True
    try:
        await asks.send("GET", f"/{parsed.name}")
    except SubscriptionRefused as error:
        if error.status != _NOT_FOUND:
            raise
        is_there = False
    await asks.send("PUT", f"/{parsed.name}", settings)
    if is_there:
        put(f"the subscription {parsed.name!r} is there already, with these settings\n")
    else:
        put(f"made the subscription {parsed.name!r}\n")
    return DONE


def _settings(parsed: argparse.Namespace) -> dict[str, Any]:
    settings = {
        "topics": parsed.topics,
        "from": beginnings.beginning(parsed, "--from, --since and --after"),
        "source": parsed.source,
        "order": parsed.order,
        "lease_ms": parsed.lease_ms,
        "max_deliveries": parsed.max_deliveries,
        "backoff_ms": parsed.backoff_ms,
        "on_dead": parsed.on_dead,
        "max_leased": parsed.max_leased,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    if parsed.stop_after_dead is not None:
        given["stop_after_dead"] = parsed.stop_after_dead or None
    return given


def _backoffs(text: str) -> list[int]:
    """Numbers of milliseconds with commas between them."""
    if not re.fullmatch(r"[0-9]{1,18}(,[0-9]{1,18})*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not numbers of milliseconds such as 0,1000,60000"
        )
    return [int(number) for number in text.split(",")]


def _stop(text: str) -> int:
    """A whole number from 1, or `never`, which is 0."""
    return 0 if text == "never" else whole_number(1, 10**9)(text)

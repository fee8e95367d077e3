"""The command `python -m subscriber seek`."""

import argparse

from publisher.cli import DONE, Commands
from publisher.output import put
from subscriber import cli
from subscriber.cli import counted
from subscriber.commands import asking
from subscriber.commands.administration import beginnings
from subscriber.commands.administration.answers import Sought, shaped
from subscriber.commands.asking import Asking, Impossible

_OPTIONS = "--to, --since and --offset"
_EPILOG = f"""\
It moves at once and asks nothing: --dry-run says what it would do. Topics that --offset does not
name stay where they are. The leases of those that are moved are lost, and their dead letters go.

{asking.STATUSES}"""


def add_to(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "seek",
        help="have a subscription begin elsewhere",
        description="Have a subscription begin elsewhere, earlier or later.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # Behind the options, of which some take several words, it would be one of these.
    parser.usage = f"{parser.prog} NAME [options]"
    parser.set_defaults(run=run, program=parser.prog)
    parser.add_argument("name", metavar="NAME", type=cli.subscription, help="of the subscription")
    asking.add_to(parser)
    beginnings.add_to(
        parser.add_argument_group("where to begin", "One of them is needed."), "--to", "--offset"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what it would do, and do nothing"
    )


def run(parsed: argparse.Namespace) -> int:
    """Run the command; gives its exit status."""
    return asking.run(parsed, _seek)


async def _seek(parsed: argparse.Namespace, asks: Asking) -> int:
    begins = beginnings.beginning(parsed, _OPTIONS)
    if begins is None:
        raise Impossible(f"one of {_OPTIONS} has to say where to begin")
    answer = await asks.send(
        "POST", f"/{parsed.name}/seek", {"from": begins, "dry_run": parsed.dry_run}
    )
    sought = shaped(answer, Sought)
    if parsed.dry_run:
        put(
            f"{counted(sought.again, 'event')} would come again, "
            f"{sought.skipped:,} would be skipped; nothing was moved\n"
        )
    else:
        put(f"{counted(sought.again, 'event')} will come again, {sought.skipped:,} are skipped\n")
        if asks.is_repeated:
            asks.say(
                "an attempt before that was not answered, and may have moved the subscription "
                "before these were counted"
            )
    return DONE

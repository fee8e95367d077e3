"""The commands `pause`, `resume` and `delete` of `python -m subscriber`."""

import argparse

from publisher.cli import DONE, Commands
from publisher.output import put
from subscriber import cli
from subscriber.commands import asking
from subscriber.commands.asking import Asking
from subscriber.errors import SubscriptionRefused

_NOT_FOUND = 404
_EFFECTS = {
    "pause": (
        "give no more leases of a subscription",
        "Leases that are open go on, and are settled as ever.",
    ),
    "resume": (
        "give leases of a subscription again",
        "The count of dead letters in a row, which may have paused it, begins anew.",
    ),
    "delete": (
        "delete a subscription",
        "It asks nothing. Its place, leases and dead letters go; the events stay in the log.",
    ),
}


def add_to(commands: Commands) -> None:
    """Add the commands to the command line."""
    for action, (what, effect) in _EFFECTS.items():
        parser = commands.add_parser(
            action,
            help=what,
            description=f"{what.capitalize()}. {effect}",
            epilog=asking.STATUSES,
            allow_abbrev=False,
        )
        parser.set_defaults(run=run, program=parser.prog, action=action)
        parser.add_argument("name", metavar="NAME", type=cli.subscription, help="its name")
        asking.add_to(parser)


def run(parsed: argparse.Namespace) -> int:
    """Run one of the commands; gives its exit status."""
    return asking.run(parsed, _delete if parsed.action == "delete" else _switch)


async def _switch(parsed: argparse.Namespace, asks: Asking) -> int:
    await asks.send("POST", f"/{parsed.name}/{parsed.action}")
    state = "paused" if parsed.action == "pause" else "active"
    put(f"the subscription {parsed.name!r} is {state}\n")
    return DONE


async def _delete(parsed: argparse.Namespace, asks: Asking) -> int:
    try:
        await asks.send("DELETE", f"/{parsed.name}")
    except SubscriptionRefused as error:
        if error.status != _NOT_FOUND or not asks.is_repeated:
            raise
        # The attempt before, which was not answered, has probably done it.
        put(f"there is no subscription {parsed.name!r} any more\n")
    else:
        put(f"deleted the subscription {parsed.name!r}\n")
    return DONE

"""The command `python -m subscriber dead`."""

import argparse
from collections.abc import Sequence

from publisher.cli import DONE, FAILED, Commands
from publisher.output import put
from subscriber import cli
from subscriber.cli import counted
from subscriber.commands import asking, formats
from subscriber.commands.administration.answers import Retried, elements, shaped
from subscriber.commands.administration.dead_letter_text import dead_letter_line
from subscriber.commands.asking import Asking
from subscriber.commands.printer import printing
from subscriber.errors import SubscriptionRefused

_NOT_FOUND = 404
_ENTRIES = 1000
"""Offsets in one request, whose body has a bound."""

_EPILOG = f"""\
A dead letter that is retried waits again, with no deliveries counted. One that is dropped is
acknowledged. The events stay in the log either way.

{asking.STATUSES}"""


def add_to(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "dead",
        help="list the dead letters of a subscription, retry or drop them",
        description="List the dead letters of a subscription, or retry or drop some of them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    # Behind the options, of which some take several words, it would be one of these.
    parser.usage = f"{parser.prog} NAME [options]"
    parser.set_defaults(run=run, program=parser.prog)
    parser.add_argument("name", metavar="NAME", type=cli.subscription, help="of the subscription")
    asking.add_to(parser)
    formats.add_to(
        parser,
        json="a dead letter a line",
        text="time, topic, offset, deliveries and the end of the last error",
    )
    doing = parser.add_argument_group("what to do", "Without any of them, it lists them.")
    choice = doing.add_mutually_exclusive_group()
    for option, what in (("--retry", "have these wait again"), ("--drop", "acknowledge these")):
        choice.add_argument(
            option,
            metavar="TOPIC/OFFSET",
            nargs="+",
            action="extend",
            type=cli.event_place,
            help=what,
        )
    choice.add_argument("--retry-all", action="store_true", help="have all of them wait again")


def run(parsed: argparse.Namespace) -> int:
    """Run the command; gives its exit status."""
    if parsed.retry_all:
        return asking.run(parsed, _retry_all)
    if parsed.retry:
        return asking.run(parsed, _retry)
    return asking.run(parsed, _drop if parsed.drop else _list)


async def _list(parsed: argparse.Namespace, asks: Asking) -> int:
    is_text = formats.is_text(parsed.format)
    has_any = False
    first = path = f"/{parsed.name}/dead"
    async with printing() as printer:
        while path:
            page = await asks.send("GET", path)
            for letter, members in elements(page):
                has_any = True
                line = dead_letter_line(members) if is_text else formats.json_text(letter)
                await printer.print(line)
            path = "" if page.next_url is None else f"{first}?{page.next_url.raw_query_string}"
    if not has_any:
        asks.say(f"the subscription {parsed.name!r} has no dead letters")
    return DONE


async def _retry(parsed: argparse.Namespace, asks: Asking) -> int:
    places = _unique(parsed.retry)
    retried, is_repeated = 0, False
    for begin in range(0, len(places), _ENTRIES):
        offsets = [[topic, offset, offset] for topic, offset in places[begin : begin + _ENTRIES]]
        answer = await asks.send("POST", f"/{parsed.name}/dead/retry", {"offsets": offsets})
        retried += shaped(answer, Retried).retried
        is_repeated = is_repeated or asks.is_repeated
    if retried or is_repeated:
        put(f"{counted(retried, 'dead letter')} will be delivered again\n")
    if retried == len(places):
        return DONE
    others = len(places) - retried
    asks.say(f"{others:,} of the {counted(len(places), 'event')} {_are(others)} no dead letter")
    # An attempt that was not answered has probably retried them.
    return DONE if is_repeated else FAILED


async def _retry_all(parsed: argparse.Namespace, asks: Asking) -> int:
    retried, left = 0, 1
    while left:
        answer = await asks.send("POST", f"/{parsed.name}/dead/retry", {"all": True})
        done = shaped(answer, Retried)
        retried += done.retried
        left = done.left
    put(f"{counted(retried, 'dead letter')} will be delivered again\n")
    return DONE


async def _drop(parsed: argparse.Namespace, asks: Asking) -> int:
    dropped, status = 0, DONE
    for topic, offset in _unique(parsed.drop):
        try:
            await asks.send("DELETE", f"/{parsed.name}/dead/{topic}/{offset}")
        except SubscriptionRefused as error:
            if error.status != _NOT_FOUND:
                raise
            if asks.is_repeated:
                # The attempt before, which was not answered, has probably done it.
                continue
            asks.say(error.detail)
            status = FAILED
        else:
            dropped += 1
    if dropped or status == DONE:
        put(f"{counted(dropped, 'dead letter')} {_are(dropped)} acknowledged\n")
    return status


def _unique(places: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    return list(dict.fromkeys(places))


def _are(number: int) -> str:
    return "is" if number == 1 else "are"

"""The command `python -m subscriber subscriptions`."""

import argparse
import asyncio
from collections.abc import AsyncIterator

from publisher.cli import DONE, Commands
from subscriber import cli
from subscriber.calls.http import Answer
from subscriber.commands import asking, formats
from subscriber.commands.administration.answers import Named, Subscription, shaped
from subscriber.commands.administration.subscription_text import list_text, subscription_text
from subscriber.commands.asking import Asking
from subscriber.commands.printer import Printer, printing
from subscriber.errors import SubscriptionRefused

_NOT_FOUND = 404
_AT_ONCE = 8
_EPILOG = f"""\
As JSON a line is the object that the aggregator gives, with the counts of the subscription's first
1,000 topics. With a name, there is another line for each further 1,000 topics.

{asking.STATUSES}"""


def add_to(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "subscriptions",
        help="show subscriptions, how far they are, and what they hold",
        description="Show subscriptions, how far they are, and what they hold.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, program=parser.prog)
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        type=cli.subscription,
        help="show one of them with its settings and its topics",
    )
    asking.add_to(parser)
    formats.add_to(parser, json="a subscription a line", text="a table")


def run(parsed: argparse.Namespace) -> int:
    """Run the command; gives its exit status."""
    return asking.run(parsed, _show)


async def _show(parsed: argparse.Namespace, asks: Asking) -> int:
    async with printing() as printer:
        looks = _listed(asks) if parsed.name is None else _pages(asks, parsed.name)
        if formats.is_text(parsed.format):
            await _print_text(looks, printer, asks, parsed.name)
        else:
            async for answer in looks:
                await printer.print(formats.json_text(answer.body))
    return DONE


async def _print_text(
    looks: AsyncIterator[Answer], printer: Printer, asks: Asking, name: str | None
) -> None:
    found = [shaped(answer, Subscription) async for answer in looks]
    if not found:
        asks.say("there are no subscriptions")
        return
    for line in list_text(found) if name is None else subscription_text(found):
        await printer.print_text(line)


async def _listed(asks: Asking) -> AsyncIterator[Answer]:
    """Look at all subscriptions, by name."""
    path: str | None = ""
    while path is not None:
        page = await asks.send("GET", path)
        names = [each.name for each in shaped(page, list[Named])]
        path = _next_path("", page)
        for begin in range(0, len(names), _AT_ONCE):
            looks = (_look(asks, name) for name in names[begin : begin + _AT_ONCE])
            for answer in await asyncio.gather(*looks):
                if answer is not None:
                    yield answer


async def _look(asks: Asking, name: str) -> Answer | None:
    """Look at a subscription; None: it is gone meanwhile."""
    try:
        return await asks.send("GET", f"/{name}")
    except SubscriptionRefused as error:
        if error.status != _NOT_FOUND:
            raise
        return None


async def _pages(asks: Asking, name: str) -> AsyncIterator[Answer]:
    """Look at a subscription, with all its topics."""
    path: str | None = f"/{name}"
    while path is not None:
        answer = await asks.send("GET", path)
        yield answer
        path = _next_path(f"/{name}", answer)


def _next_path(path: str, answer: Answer) -> str | None:
    """Return the path of the next page, which is there as this one is; None: there is none."""
    return None if answer.next_url is None else f"{path}?{answer.next_url.raw_query_string}"

"""The command `python -m subscriber lease`."""

import argparse
import asyncio
import os
import signal
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from publisher.cli import DONE, Commands, whole_number
from subscriber import cli
from subscriber.calls.answers import NotOfSubscriptions, parse_leased
from subscriber.calls.http import Answer
from subscriber.calls.requests import Leased
from subscriber.cli import counted
from subscriber.commands import asking, formats
from subscriber.commands.administration.answers import foreign
from subscriber.commands.asking import Asking
from subscriber.commands.leasing.one_lease import OneLease
from subscriber.commands.printer import Printer, printing
from subscriber.errors import LeaseLost
from subscriber.events import NotFromAnAggregator, parse_event

_MAX_EVENTS = 10_000
_MAX_WAIT_S = 60
_DEFAULT_EVENTS = 100
_EPILOG = f"""\
Without --ack and --keep it is for looking: the events are released before they are printed, come
again at once, and their delivery does not count. What was done is said on standard error.

{asking.STATUSES}"""


def add_to(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "lease",
        help="lease events of a subscription once, and print them",
        description="Lease events of a subscription once, print them, and release them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, program=parser.prog)
    parser.add_argument("name", metavar="NAME", type=cli.subscription, help="of the subscription")
    asking.add_to(parser)
    parser.add_argument(
        "--max-events",
        metavar="N",
        type=whole_number(1, _MAX_EVENTS),
        default=_DEFAULT_EVENTS,
        help=f"at most so many, 1 to {_MAX_EVENTS:,} (default: %(default)s)",
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=whole_number(0, _MAX_WAIT_S),
        default=0,
        help=f"wait so long for the first, 0 to {_MAX_WAIT_S} (default: %(default)s)",
    )
    parser.add_argument(
        "--consumer",
        metavar="LABEL",
        type=cli.consumer,
        default=f"{socket.gethostname()}-{os.getpid()}",
        help="the label of the consumer (default: made of this host and process)",
    )
    formats.add_to(parser, json="an event a line", text="time, topic, offset, source and payload")
    settling = parser.add_mutually_exclusive_group()
    settling.add_argument(
        "--ack",
        action="store_true",
        help="acknowledge the events when all of them are written to standard output. They are "
        "extended until then, and released if that fails",
    )
    settling.add_argument(
        "--keep",
        action="store_true",
        help="settle nothing, and print the answer as it is, with the lease to settle by",
    )


def run(parsed: argparse.Namespace) -> int:
    """Run the command; gives its exit status."""
    return asking.run(parsed, _lease)


async def _lease(parsed: argparse.Namespace, asks: Asking) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - it is this one
    # As Ctrl-C: what is leased is released.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with printing() as printer:
        answer = await printer.while_read(_ask(parsed, asks))
        leased = _leased(answer)
        if leased.lease is not None:
            await _hand_out(parsed, printer, answer, leased, OneLease(asks, parsed.name, leased))
            asks.say(_told(parsed, leased))
            return DONE
        if parsed.keep:
            await printer.print(formats.json_text(answer.body))
    asks.say(f"nothing came within {parsed.wait} s" if parsed.wait else "there is nothing to lease")
    return DONE


def _ask(parsed: argparse.Namespace, asks: Asking) -> Coroutine[Any, Any, Answer]:
    asked = {
        "consumer": parsed.consumer,
        "max_events": parsed.max_events,
        "wait_ms": parsed.wait * 1000,
    }
    return asks.send("POST", f"/{parsed.name}/lease", asked, parsed.wait)


async def _hand_out(
    parsed: argparse.Namespace, printer: Printer, answer: Answer, leased: Leased, lease: OneLease
) -> None:
    """Print what was leased, and settle it as the command line says."""
    if parsed.keep:
        async with lease.released_on_failure():
            await printer.print(formats.json_text(answer.body))
            await printer.flush()
    elif parsed.ack:
        async with lease.released_on_failure():
            async with lease.extended():
                await _print(parsed, printer, leased)
            await lease.settle("ack")
    else:
        with suppress(LeaseLost):
            await lease.settle("release")
        await _print(parsed, printer, leased)


async def _print(parsed: argparse.Namespace, printer: Printer, leased: Leased) -> None:
    line = formats.event_line(parsed.format)
    for delivered in leased.deliveries:
        try:
            event = parse_event(delivered.json)
        except NotFromAnAggregator as error:
            raise foreign(error) from error
        await printer.print(line(event))
    await printer.flush()


def _leased(answer: Answer) -> Leased:
    try:
        return parse_leased(answer.body)
    except NotOfSubscriptions as error:
        raise foreign(error) from error


def _told(parsed: argparse.Namespace, leased: Leased) -> str:
    events = f"leased {counted(len(leased.deliveries), 'event')}"
    if parsed.keep:
        return f"{events}; the lease runs out in {leased.expires_in_s:g} s unless it is extended"
    return f"{events}, and {'acknowledged' if parsed.ack else 'released'} what was leased"

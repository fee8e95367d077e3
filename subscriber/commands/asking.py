"""Requests of the commands, sent again for a limited time; and how a command ends."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Self

from yarl import URL

from publisher import connection_options
from publisher.cli import DONE, FAILED, INTERRUPTED, USAGE, above_zero
from publisher.credentials import NO_CREDENTIALS, Credentials
from publisher.output import tell
from subscriber.calls.http import Answer, HttpCalls
from subscriber.calls.requests import CallFailed
from subscriber.commands.lines import visible
from subscriber.commands.standard_output import ReaderGone
from subscriber.consuming.attempts import Attempts
from subscriber.errors import SubscriptionError, SubscriptionRefused
from subscriber.policy import ReconnectPolicy, Wait

UNPROCESSABLE = 422
STATUSES = """\
exit status: 0 when it is done; 1 when it was refused, gave up, or can't print; 2 when the command
line is wrong, or the aggregator finds it wrong; 130 when interrupted.
"""

_FIRST_WAIT_S = 0.1
_MAX_WAIT_S = 2.0
_GIVE_UP_AFTER_S = 10.0


class Impossible(Exception):
    """What the command line asks for can't be; the message is one sentence."""


class Asking:
    """Sends requests about subscriptions, each until it is answered or too much time has passed.

    It is an asynchronous context manager, which closes the connections.

    Args:
        url: of the aggregator.
        give_up_after_s: the longest time of one request without an answer, in seconds.
        say: says a sentence to people.
        credentials: what is shown with each request.
    """

    def __init__(
        self,
        url: str,
        give_up_after_s: float,
        say: Callable[[str], None],
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        self._calls = HttpCalls(url, credentials=credentials)
        self._give_up_after_s = give_up_after_s
        self._attempts = Attempts(
            ReconnectPolicy(_FIRST_WAIT_S, _MAX_WAIT_S, give_up_after_s=give_up_after_s),
            self._on_wait,
        )
        self.say = say
        self.is_repeated = False
        """Whether the last request had an attempt before the one that was answered.

        That one may have been done.
        """

    async def __aenter__(self) -> Self:
        """Return it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._calls.aclose()

    async def send(
        self, method: str, path: str | URL, body: object = None, wait_s: float = 0.0
    ) -> Answer:
        """Send a request until it is answered; see `HttpCalls.send`.

        Raises:
            SubscriptionRefused: another attempt would not change the answer.
            LeaseLost: the lease of a settle is lost.
            SubscriptionGaveUp: there was no answer for too long.
        """
        self.is_repeated = False
        while True:
            try:
                answer = await self._calls.send(method, path, body, wait_s)
            except CallFailed as failure:
                await self._attempts.wait(failure)
                self.is_repeated = True
            else:
                self._attempts.succeeded()
                return answer

    def _on_wait(self, wait: Wait) -> None:
        if wait.attempt == 1:
            self.say(f"{wait.reason}; trying again for {self._give_up_after_s:g} s")


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options of how to ask."""
    connection_options.add_to(parser)
    parser.add_argument(
        "--give-up-after",
        metavar="SECONDS",
        type=above_zero("seconds"),
        default=_GIVE_UP_AFTER_S,
        help="after this many seconds of trying a request again (default: %(default)g seconds)",
    )


def run(
    parsed: argparse.Namespace,
    work: Callable[[argparse.Namespace, Asking], Coroutine[Any, Any, int]],
) -> int:
    """Run the work of a command.

    Args:
        parsed: the command line.
        work: does it; returns the exit status.

    Returns:
        The exit status.

    Raises:
        CannotPrint: standard output can't be written.
    """

    def say(sentence: str) -> None:
        tell(f"{parsed.program}: {visible(sentence)}\n")

    async def ask() -> int:
        async with Asking(parsed.url, parsed.give_up_after, say, parsed.credentials) as asking:
            return await work(parsed, asking)

    try:
        return asyncio.run(ask())
    except ReaderGone:
        return DONE  # as after the end of any pipe
    except Impossible as error:
        say(str(error))
        return USAGE
    except SubscriptionRefused as error:
        say(str(error))
        return USAGE if error.status == UNPROCESSABLE else FAILED
    except SubscriptionError as error:
        say(str(error))
        return FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED

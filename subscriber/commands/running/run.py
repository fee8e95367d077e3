"""The command `python -m subscriber run`."""

import argparse
import asyncio
import math
import signal
from collections.abc import Sequence

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
from publisher.output import tell
from subscriber import cli
from subscriber.commands.asking import UNPROCESSABLE
from subscriber.commands.running.batch_command import BatchCommand, CannotStart
from subscriber.commands.running.error_output import ErrorOutput, log_said
from subscriber.commands.running.rounds import Rounds
from subscriber.errors import SubscriptionError, SubscriptionRefused
from subscriber.policy import ReconnectPolicy, Wait
from subscriber.subscription import MAX_EVENTS, Subscriber

_NAME = "run"
_DEFAULT_EVENTS = 100
_MAX_CONCURRENCY = 1000
_FIRST_WAIT_S = 0.1
_EPILOG = """\
The command is started for each batch, and gets its events on standard input, one JSON object a
line, as the aggregator sends them. When it ends with

  status 0    the batch is acknowledged;
  status 75   the batch is released, and the command is started again after a pause of 1 s, which
              grows to 60 s;
  any other   the batch is run again in halves, down to one event. An event that failed alone is
              retried, with the status and the end of the command's standard error as its error.

AGGREGATOR_URL and AGGREGATOR_SUBSCRIPTION are set for it. SIGTERM and Ctrl-C let it finish; if it
fails then, its batch is released. A second signal ends it, and releases its batch. A lost lease
ends it, too: SIGTERM, and SIGKILL after 5 s, to its process group. Events may come again: after a
crash, what was not acknowledged does, and the command may see the end of its input early.

exit status: 0 when stopped, when nobody reads what the command prints, or when all is done
(--until-caught-up); 1 when the aggregator refused or was given up; 2 when the command line is wrong
or the command can't be started; 130 when interrupted by a second signal, or before
--until-caught-up was done.
"""


def add_to(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        _NAME,
        help="run a command for each batch of events of a subscription",
        description="Run a command for each batch of events of a subscription.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.usage = f"{parser.prog} [options] NAME -- COMMAND [ARG ...]"
    parser.set_defaults(run=run, program=parser.prog)
    parser.add_argument("name", metavar="NAME", type=cli.subscription, help="of the subscription")
    parser.add_argument("misplaced", nargs="*", help=argparse.SUPPRESS)
    connection_options.add_to(parser)
    parser.add_argument(
        "--max-events",
        metavar="N",
        type=whole_number(1, MAX_EVENTS),
        default=_DEFAULT_EVENTS,
        help=f"events of a batch at most, 1 to {MAX_EVENTS:,} (default: %(default)s)",
    )
    parser.add_argument(
        "--concurrency",
        metavar="N",
        type=whole_number(1, _MAX_CONCURRENCY),
        default=1,
        help="commands that run at once; of different topics, where the subscription keeps the "
        "order (default: %(default)s)",
    )
    parser.add_argument(
        "--until-caught-up",
        action="store_true",
        help="end when nothing of the subscription is leased or waiting any more",
    )
    parser.add_argument(
        "--consumer",
        metavar="LABEL",
        type=cli.consumer,
        help="the label of the consumer (default: made of this host and process)",
    )
    parser.add_argument(
        "--give-up-after",
        metavar="SECONDS",
        type=above_zero("seconds"),
        default=math.inf,
        help="after this many seconds without an answer (default: never)",
    )


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line of `run` at the first `--`; what is behind it is not looked at.

    Returns:
        The arguments in front of it, and the command behind it; of another command, all of them,
        and nothing.
    """
    arguments = list(arguments)
    if arguments[:1] != [_NAME] or "--" not in arguments:
        return arguments, []
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


def run(parsed: argparse.Namespace) -> int:
    """Run the command; gives its exit status."""

    def fail(sentence: object, status: int) -> int:
        tell(f"{parsed.program}: {sentence}\n")
        return status

    if parsed.misplaced or not parsed.command:
        wanted = " ".join(parsed.misplaced) or "COMMAND"
        return fail(f"the command stands behind --: {_NAME} {parsed.name} -- {wanted}", USAGE)
    try:
        was_stopped = asyncio.run(_consume(parsed))
    except CannotStart as error:
        return fail(error, USAGE)
    except SubscriptionRefused as error:
        return fail(error, USAGE if error.status == UNPROCESSABLE else FAILED)
    except SubscriptionError as error:
        return fail(error, FAILED)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    return INTERRUPTED if was_stopped and parsed.until_caught_up else DONE


async def _consume(parsed: argparse.Namespace) -> bool:
    """Consume, and return whether a signal ended it."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - it is this one
    async with ErrorOutput.opened(parsed.program) as errors:
        variables = {"AGGREGATOR_URL": parsed.url, "AGGREGATOR_SUBSCRIPTION": parsed.name}
        command = BatchCommand(parsed.command, variables, errors)
        command.check()
        rounds = Rounds(
            lambda: _subscriber(parsed, errors),
            command,
            max_events=parsed.max_events,
            concurrency=parsed.concurrency,
            until_caught_up=parsed.until_caught_up,
            say=errors.say,
        )

        def end() -> None:
            if rounds.is_stopped:
                task.cancel()
            rounds.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end)
        with log_said(errors):
            try:
                await rounds.run()
            finally:
                await command.aclose()
        return rounds.is_stopped


def _subscriber(parsed: argparse.Namespace, errors: ErrorOutput) -> Subscriber:
    def on_wait(wait: Wait) -> None:
        if wait.attempt == 1:
            errors.say(f"{wait.reason}; trying again until there is an answer")

    return Subscriber(
        parsed.url,
        parsed.name,
        consumer=parsed.consumer,
        # Or more commands could run at once than there are batches.
        max_events=min(parsed.max_events * parsed.concurrency, MAX_EVENTS),
        credentials=parsed.credentials,
        policy=ReconnectPolicy(_FIRST_WAIT_S, give_up_after_s=parsed.give_up_after),
        on_wait=on_wait,
    )

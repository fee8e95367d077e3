"""The command line: `subscriber`, or `python -m subscriber`, with its commands."""

import sys
from collections.abc import Sequence

from publisher import connection_options
from publisher.cli import FAILED, USAGE, Parser, program_name
from publisher.output import CannotPrint, tell
from publisher.tokens import CredentialsInvalid
from publisher.user_agent import VERSION
from subscriber.cli import PROGRAM
from subscriber.commands.administration import create, dead, seek, subscriptions, switches
from subscriber.commands.following import follow
from subscriber.commands.leasing import lease
from subscriber.commands.running import run


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments without the program's name; those of the process if not given.

    Returns:
        The exit status: 0 when all is well, 1 when something is not, 2 for what the command line or
        a file makes impossible, 130 when interrupted before the end.
    """
    program = program_name(PROGRAM) if argv is None else PROGRAM
    parser = Parser(
        prog=program, description="Follow topics, and consume subscriptions.", allow_abbrev=False
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"subscriber {VERSION}",
        help="show the version and exit",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (follow, run, lease, dead, subscriptions, create, seek, switches):
        command.add_to(commands)
    try:
        arguments, command_line = run.split(sys.argv[1:] if argv is None else argv)
        parsed = parser.parse_args(arguments)
        parsed.command = command_line
        for warning in connection_options.take(parsed):
            tell(f"{parsed.program}: {warning}\n")
        status: int = parsed.run(parsed)
    except CredentialsInvalid as error:
        tell(f"{parsed.program}: {error}\n")
        return USAGE
    except CannotPrint as error:
        tell(f"{program}: {error}\n")
        return FAILED
    return status


if __name__ == "__main__":
    sys.exit(main())

"""The command line: `publisher`, or `python -m publisher`, with its commands."""

import sys
from collections.abc import Sequence

from publisher import cli, connection_options
from publisher.load import command as load
from publisher.output import CannotPrint, tell
from publisher.ship import command as ship
from publisher.tokens import CredentialsInvalid
from publisher.user_agent import VERSION


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    argv: without the program's name; from sys.argv if not given.

    Gives the exit status: 0 when all is well, 1 when something is not, 2 for what the command line
    or a file makes impossible, 130 when interrupted. That a reader of what is printed has gone away
    changes nothing of it.
    """
    program = cli.program_name() if argv is None else cli.PROGRAM
    parser = cli.Parser(
        prog=program, description="Publish to an aggregator over HTTP.", allow_abbrev=False
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"publisher {VERSION}",
        help="show the version and exit",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    ship.add_to(commands)
    load.add_to(commands)
    try:
        parsed = parser.parse_args(argv)
        for warning in connection_options.take(parsed):
            tell(f"{parsed.program}: {warning}\n")
        status: int = parsed.run(parsed)
    except CredentialsInvalid as error:
        tell(f"{parsed.program}: {error}\n")
        return cli.USAGE
    except CannotPrint as error:
        tell(f"{program}: {error}\n")
        return cli.FAILED
    return status


if __name__ == "__main__":
    sys.exit(main())

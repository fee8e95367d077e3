"""The command line: a parser that refuses in one sentence, and the settings it has options for."""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from aggregator import __version__
from aggregator.logging import standard_streams
from aggregator.settings.environment import given_variables, nearest
from aggregator.settings.option import Option
from aggregator.settings.storage import StorageSettings
from storage.backends import BACKENDS

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

PROGRAM = "python -m aggregator"
_SQLITE_URL = "sqlite:///"
_HELP_COLUMN = 32

AnySettings = TypeVar("AnySettings", bound=StorageSettings)


class WrongCommandLine(Exception):
    """The command line can't be understood; the message is one sentence."""


class Parser(argparse.ArgumentParser):
    """Parses the command line of one command.

    Args:
        program: the name that the command was called by: "aggregator verify".
        usage: its arguments, in short.
        description: lines for the top of the help.
    """

    def __init__(self, program: str, *, usage: str, description: str) -> None:
        super().__init__(
            prog=program,
            usage=f"{program} {usage}",
            description=description,
            formatter_class=_Formatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.add_argument("-h", "--help", action="help", help="show this help and exit")
        self.add_argument(
            "--version",
            action="version",
            version=f"aggregator {__version__}",
            help="show the version and exit",
        )

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser`; argparse would end the process, after several lines."""
        raise WrongCommandLine(f"{message}{self._hint(message)} (see {self.prog} --help)")

    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        """Print the help; argparse itself says nothing of a disk that is full.

        Raises:
            WrongCommandLine: standard output takes no more.
        """
        if file is not None or sys.stdout is None:
            super().print_help(file)
            return
        try:
            # More than Python's own buffer holds is written at once.
            sys.stdout.write(self.format_help())
        except BrokenPipeError:
            standard_streams.drop(sys.stdout)
        except OSError as error:
            standard_streams.drop(sys.stdout)
            raise WrongCommandLine(f"can't write to standard output: {error.strerror}") from error

    def _hint(self, message: str) -> str:
        unknown = re.match(r"unrecognized arguments: --([\w-]+)", message)
        known = [each[2:] for each in self._option_string_actions if each.startswith("--")]
        near = nearest(unknown[1], known) if unknown else None
        return f"; did you mean --{near}?" if near else ""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=_HELP_COLUMN)


def program_name() -> str:
    """Return what to call this program in a sentence: the name that it was called by."""
    called = Path(sys.argv[0])
    return PROGRAM if called.suffix == ".py" else called.name


def read_settings(
    kind: type[AnySettings],
    parser: Parser,
    arguments: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> AnySettings:
    """Read settings from the command line, which wins, and from the environment.

    Args:
        kind: which settings.
        parser: the parser of the command, to which their options are added.
        arguments: the command line behind the name of the command.
        environment: in place of the process's.

    Raises:
        WrongCommandLine: an option is not known, or lacks its value.
        WrongSetting: a value is wrong, or they do not go together.
    """
    environment = os.environ if environment is None else environment
    options = kind.options()
    for title, group in kind.groups().items():
        _add_group(parser, title, group)
    # An empty value is as good as none, as it is in the environment.
    parsed = vars(parser.parse_args(arguments))
    on_command_line = {
        name: text
        for name, given in parsed.items()
        if (text := ",".join(given) if isinstance(given, list) else given)
    }
    in_environment = given_variables(options.values(), environment)
    values = in_environment | on_command_line
    origins = {name: options[name].variable for name in in_environment}
    origins |= {name: options[name].flag for name in on_command_line}
    name, value = _stand_in(values, environment.get("DATABASE_URL", ""))
    if name is not None:
        values[name], origins[name] = value, "DATABASE_URL"
    return kind.from_values(values, origins)


def _add_group(parser: Parser, title: str, options: Sequence[Option]) -> None:
    group = parser.add_argument_group(title)
    for option in options:
        group.add_argument(
            option.flag,
            dest=option.name,
            action="append" if option.is_list else "store",
            metavar=option.metavar,
            default=argparse.SUPPRESS,
            help=f"{option.help} (default: {option.default_text})".replace("%", "%%"),
        )


def _stand_in(values: Mapping[str, str], url: str) -> tuple[str | None, str]:
    """Return what DATABASE_URL stands in for, and its value, where neither of the two is given."""
    if not url or "dsn" in values or "database" in values:
        return None, ""
    backend = BACKENDS.get(values.get("backend", ""))
    if url.startswith(_SQLITE_URL):
        is_of_use = backend is None or backend.is_file
        return "database" if is_of_use else None, url.removeprefix(_SQLITE_URL)
    is_of_use = backend is None or not backend.is_file
    return "dsn" if is_of_use else None, url

"""What the commands share: a parser that refuses in one sentence, and types of arguments."""

import argparse
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias
from urllib.parse import urlsplit

from publisher.output import put, tell
from publisher.retry import RetryPolicy

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

PROGRAM = "python -m publisher"
DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_DEADLINE_S = RetryPolicy().deadline_s
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""The exit statuses: all is well; something is not; what was asked for can't be; Ctrl-C."""

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_NOT_IN_A_URL = re.compile(r"[\s\x00-\x1f\x7f\ud800-\udfff]")


class Parser(argparse.ArgumentParser):
    """Refuses a command line in one sentence and with status 2."""

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser`."""
        # The usage in front of it, several lines, would hide the sentence.
        tell(f"{self.prog}: {message} (see {self.prog} --help)\n")
        self.exit(USAGE)

    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        """Print the help; without a file, on standard output."""
        if file is None:
            put(self.format_help())
        else:
            super().print_help(file)


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001
"""What `add_subparsers` gives; argparse has no public name for it."""


def program_name(module: str = PROGRAM) -> str:
    """Give what to call this program in a sentence: the name that it was called by.

    module: that name where Python runs a module.
    """
    called = Path(sys.argv[0])
    return module if called.suffix == ".py" else called.name


def url(text: str) -> str:
    """An http or https URL, without query and fragment."""
    wrong = argparse.ArgumentTypeError(
        f"{text!r} is not an http or https URL such as {DEFAULT_URL}, without ? and #"
    )
    if _NOT_IN_A_URL.search(text) or "?" in text or "#" in text:
        raise wrong
    try:
        parts = urlsplit(text)
        # The port is checked when it is read, the name of the host when it is encoded.
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:
        raise wrong from None
    if not usable:
        raise wrong
    return text


def topic(text: str) -> str:
    """The name of a topic."""
    if not _TOPIC.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not 1 to 249 characters of A-Z a-z 0-9 . _ -"
        )
    return text


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """A whole number in ASCII digits from `least`, 0 or more, to `most`."""

    def convert(text: str) -> int:
        # Bounded before it is converted: int() takes long for a million digits.
        if not re.fullmatch("[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {least:,} to {most:,}"
            )
        return int(text)

    return convert


def above_zero(unit: str) -> Callable[[str], float]:
    """A finite number above 0; `unit` is what the refusal calls it: "seconds"."""

    def convert(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} above 0")
        return number

    return convert


def add_deadline(parser: argparse.ArgumentParser) -> None:
    """Add --deadline."""
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        default=DEFAULT_DEADLINE_S,
        type=above_zero("seconds"),
        help="give a request up after this many seconds of trying again "
        f"(default: {DEFAULT_DEADLINE_S:g} seconds)",
    )

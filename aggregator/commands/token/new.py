"""`aggregator token new`: a token, and the entry that gives it rights."""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from aggregator.access.entries import ANONYMOUS
from aggregator.access.entry_fields import FieldBroken
from aggregator.access.file_addition import CannotAdd, add_entry
from aggregator.access.tokens import digest_of, masked, new_token
from aggregator.access.tokens_file import TokensFileBroken, parse_entries
from aggregator.commands.token.entry_text import entry_text
from aggregator.commands.token.errors import TokenCommandFailed
from aggregator.logging import standard_streams
from aggregator.settings.command_line import Parser
from aggregator.wire.timestamps import parse_instant
from storage.model import MAX_TIME_US

USAGE = "--name NAME [OPTION ...] [--add-to FILE]"
DESCRIPTION = """\
Make a token and the entry of the tokens file that gives it rights. Prints the token alone
on the first line, then an empty line and the entry. The token is shown this once: the entry
has its SHA-256 alone. PATTERN is a name, or has * for one part between dots and ** at the
end for one part or more.
"""

_LISTS = ("publish", "read", "subscribe")
_FLAGS = ("admin", "metrics")
_LIMITS = (
    "events_per_second",
    "bytes_per_second",
    "streams",
    "subscriptions",
    "new_topics_per_day",
)
_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def new(parser: Parser, arguments: Sequence[str]) -> None:
    """Make a token and print it with its entry, which may be added to a file.

    Args:
        parser: the parser of the command, to which its options are added.
        arguments: the command line behind `token new`.

    Raises:
        TokenCommandFailed: a value is wrong, or the entry can't be added or printed.
        WrongCommandLine: an option is not known, or lacks its value.
    """
    _add_options(parser)
    options = parser.parse_args(arguments)
    if options.name == ANONYMOUS:
        raise TokenCommandFailed(
            f"{ANONYMOUS!r} is the entry for those without a credential; write it into the tokens "
            "file by hand, or choose another name"
        )
    token = new_token()
    text = _text(options, digest_of(token).hex())
    _check(text)
    if options.add_to is not None:
        try:
            add_entry(options.add_to, text)
        except (CannotAdd, TokensFileBroken) as error:
            raise TokenCommandFailed(str(error)) from None
    _print(f"{token}\n\n{text}", options)


def _text(options: argparse.Namespace, sha256: str) -> str:
    given = vars(options)
    # In the order in which people read an entry.
    order = (*_LISTS, *_FLAGS, "source", "certificate", *_LIMITS)
    fields = {"name": options.name, "sha256": [sha256], **{name: given[name] for name in order}}
    return entry_text(fields, None if options.expires is None else _expires(options.expires))


def _check(text: str) -> None:
    try:
        (entry,) = parse_entries(text)
    except FieldBroken as error:
        raise TokenCommandFailed(f"can't make the entry: {error}") from None
    if not (
        entry.may_publish_anything
        or entry.may_read_anything
        or entry.may_subscribe_anything
        or entry.may_metrics
    ):
        raise TokenCommandFailed(
            f"{entry.name!r} would be allowed nothing; give --publish, --read, --subscribe, "
            "--metrics or --admin"
        )


def _expires(text: str) -> str:
    now_s = int(time.time())
    duration = _DURATION.fullmatch(text)
    try:
        if duration is not None:
            at_s = now_s + int(duration[1]) * _UNIT_S[duration[2]]
        else:
            at_s = parse_instant(text) // 1_000_000
    except ValueError as error:
        raise TokenCommandFailed(
            f"--expires: {masked(repr(text))} {error} (a duration is a whole number and s, m, h "
            "or d)"
        ) from None
    if not now_s < at_s < MAX_TIME_US // 1_000_000:
        raise TokenCommandFailed(f"--expires: {text!r} must be after now and before the year 10000")
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _print(text: str, options: argparse.Namespace) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, UnicodeEncodeError) as error:
        if isinstance(error, OSError):
            # What Python still holds for it must not fail once more at the end.
            standard_streams.drop(sys.stdout)
        left = (
            ""
            if options.add_to is None
            else f"; remove the entry {options.name!r} from {str(options.add_to)!r}"
        )
        reason = error.strerror if isinstance(error, OSError) else "its encoding is not UTF-8"
        raise TokenCommandFailed(f"can't print the token: {reason}{left}") from None


def _add_options(parser: Parser) -> None:
    add = parser.add_argument
    add("--name", required=True, metavar="NAME", help="the name of the entry, in log and limits")
    rights = parser.add_argument_group("what it may do")
    for name, what in zip(
        _LISTS, ("publish to topics", "read topics", "use subscriptions"), strict=True
    ):
        rights.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="PATTERN",
            help=f"{what} of this name or pattern; may be repeated",
        )
    rights.add_argument("--metrics", action="store_true", help="read /metrics, and /stats over all")
    rights.add_argument("--admin", action="store_true", help="do everything")
    bounds = parser.add_argument_group("what bounds it")
    bounds.add_argument("--source", metavar="NAME", help="the one source that its events may have")
    bounds.add_argument(
        "--expires", metavar="TIME", help="when it ends: 90d, 12h, or an ISO 8601 date or date-time"
    )
    bounds.add_argument(
        "--certificate",
        metavar="NAME",
        help="a client certificate that has the same rights: DNS:…, URI:… or CN:…",
    )
    for name, what in zip(
        _LIMITS,
        (
            "events that it may send a second",
            "bytes that it may send a second",
            "streams that it may have open",
            "subscriptions that its patterns may match before it makes another",
            "topics that it may make in a day",
        ),
        strict=True,
    ):
        flag = f"--{name.replace('_', '-')}"
        bounds.add_argument(flag, type=int, metavar="N", help=what)
    add(
        "--add-to",
        type=Path,
        metavar="FILE",
        help="add the entry to this tokens file as well, or make it",
    )

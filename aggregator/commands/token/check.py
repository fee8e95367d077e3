"""`aggregator token check`: what a token allows, by a tokens file."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aggregator.access.authority import Access, Identity, Reason, Unauthorized
from aggregator.access.entries import Entry
from aggregator.access.patterns import Patterns
from aggregator.access.tokens import masked
from aggregator.access.tokens_file import TokensFileBroken, load
from aggregator.commands.token.errors import TokenCommandFailed
from aggregator.logging import standard_streams
from aggregator.settings.command_line import Parser
from aggregator.wire.event_rules import topic_rule_broken
from aggregator.wire.timestamps import render_timestamp

MAY, MAY_NOT = 0, 1

USAGE = "--action ACTION [--topic NAME | --subscription NAME] [--tokens FILE]"
DESCRIPTION = """\
Say whether a token may do something. The token is read from the variable AGGREGATOR_TOKEN,
or else from the first line of standard input. The file can also be named by
AGGREGATOR_TOKENS.

Exit status: 0 if it may, 1 if it may not, 2 if that can't be told.
"""

_MAX_TOKEN = 4096
_ON_TOPICS = ("publish", "read")
_ON_SUBSCRIPTIONS = "subscribe"
_ON_NOTHING = ("metrics", "admin")
_ACTIONS = (*_ON_TOPICS, _ON_SUBSCRIPTIONS, *_ON_NOTHING)


def check(parser: Parser, arguments: Sequence[str]) -> int:
    """Print one sentence that says whether a token may do something, by which rule and until when.

    Args:
        parser: the parser of the command, to which its options are added.
        arguments: the command line behind `token check`.

    Returns:
        The exit status: 0 if it may, 1 if it may not.

    Raises:
        TokenCommandFailed: it can't be told.
        WrongCommandLine: an option is not known, lacks its value, or does not go with another.
    """
    _add_options(parser)
    options = parser.parse_args(arguments)
    _check_target(parser, options)
    tokens = options.tokens or os.environ.get("AGGREGATOR_TOKENS")
    if not tokens:
        raise TokenCommandFailed("no tokens file is named; give --tokens FILE")
    try:
        access = Access(load(Path(tokens)))
    except TokensFileBroken as error:
        raise TokenCommandFailed(str(error)) from None
    try:
        identity = access.identify([f"Bearer {_token(os.environ)}"], (), time.time_ns() // 1000)
    except Unauthorized as error:
        if error.reason in {Reason.UNKNOWN, Reason.EXPIRED}:
            return _say(MAY_NOT, f"no: {error}")
        raise TokenCommandFailed(str(error)) from None
    return _decide(identity, options)


def _decide(identity: Identity, options: argparse.Namespace) -> int:
    entry = identity.entry
    name = options.topic or options.subscription
    what = _ACT[options.action](name)
    rule = _rule(entry, options.action, name)
    if rule is None:
        return _say(MAY_NOT, f"no: entry {entry.name!r} may not {what}")
    source = ""
    if options.action == "publish" and entry.source is not None:
        source = f", as source {entry.source!r} alone"
    until = "without an end"
    if identity.expires_us is not None:
        until = f"until {render_timestamp(identity.expires_us)}"
    return _say(MAY, f"yes: entry {entry.name!r} may {what} by {rule}{source}, {until}")


_ACT: Mapping[str, Callable[[str], str]] = {
    "publish": "publish to topic {!r}".format,
    "read": "read topic {!r}".format,
    "subscribe": "use subscription {!r} over topics that it may read".format,
    "metrics": lambda _: "read metrics",
    "admin": lambda _: "do everything",
}


def _rule(entry: Entry, action: str, name: str) -> str | None:
    patterns: Mapping[str, Patterns] = {
        "publish": entry.publishable,
        "read": entry.readable,
        "subscribe": entry.subscribable,
    }
    if action in patterns and (pattern := patterns[action].rule_for(name)) is not None:
        return f"{action} = {pattern!r}"
    if action == "metrics" and entry.metrics:
        return "metrics = true"
    return "admin = true" if entry.is_admin else None


def _token(environment: Mapping[str, str]) -> str:
    token = environment.get("AGGREGATOR_TOKEN", "").strip()
    if not token and sys.stdin is not None and not sys.stdin.isatty():
        try:
            token = sys.stdin.buffer.readline(_MAX_TOKEN).decode("ascii", "replace").strip()
        except OSError as error:
            raise TokenCommandFailed(f"can't read standard input: {error.strerror}") from None
    if not token:
        raise TokenCommandFailed(
            "there is no token; give it in AGGREGATOR_TOKEN or on standard input"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise TokenCommandFailed("what was given as a token is none")
    return token


def _say(status: int, sentence: str) -> int:
    try:
        print(sentence, flush=True)  # noqa: T201
    except OSError as error:
        # What Python still holds for it must not fail once more at the end.
        standard_streams.drop(sys.stdout)
        raise TokenCommandFailed(f"can't write to standard output: {error.strerror}") from None
    return status


def _check_target(parser: Parser, options: argparse.Namespace) -> None:
    action = options.action
    needed = "topic" if action in _ON_TOPICS else None
    needed = "subscription" if action == _ON_SUBSCRIPTIONS else needed
    for target in ("topic", "subscription"):
        name = getattr(options, target)
        if (name is not None) != (target == needed):
            verb = "needs" if target == needed else "goes without"
            parser.error(f"--action {action} {verb} --{target}")
        if name is not None and (broken := topic_rule_broken(name)):
            raise TokenCommandFailed(f"--{target} {masked(broken)}")


def _add_options(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--action",
        required=True,
        choices=_ACTIONS,
        metavar="ACTION",
        help="publish or read (with --topic), subscribe (with --subscription), metrics or admin",
    )
    add("--topic", metavar="NAME", help="the topic")
    add("--subscription", metavar="NAME", help="the subscription")
    add("--tokens", metavar="FILE", help="the tokens file")

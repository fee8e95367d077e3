"""A double takes the settles that an aggregator takes, and refuses those that it refuses."""

import json
from functools import partial
from typing import Any

from support.double_rules import outcome
from support.double_targets import settle_of

from aggregator.wire.lease_token import render_token
from aggregator.wire.settle_request import SettleRequest, parse_settle
from storage.subscriptions import commands
from storage.subscriptions.commands import Token
from subscriber.calls.requests import Death, Retry, Settle
from subscriber.testing.settles import settle_command

TOKEN = Token("s", "l", "w", (("a", 1, 5),))

OFFSETS = [0, 1, 2, 3, -1, 2**63 - 1, 2**63]
ERRORS = [None, "", "x" * 4001, "a\0b", "\ud800", "\N{GRINNING FACE}" * 4001]
MILLISECONDS = [None, -1, 0, 999, 1000, 43_200_000, 43_200_001, 86_400_000, 86_400_001]


def test_settles_are_taken_as_an_aggregator_takes_them() -> None:
    check({})
    for offset in OFFSETS:
        check({"retry": [{"topic": "a", "offset": offset}]})
        check({"dead": [{"topic": "a", "offset": offset}]})
        for last in OFFSETS:
            check({"ack": [["a", 1, 1], ["b", offset, last]]})
            check({"release": [["a b", offset, last]]})
    for error in ERRORS:
        check({"retry": [{"topic": "a", "offset": 1, "error": error}]})
        check({"dead": [{"topic": "a", "offset": 1, "error": error}]})
    for milliseconds in MILLISECONDS:
        check({"retry": [{"topic": "a", "offset": 1, "after_ms": milliseconds}]})
        check({"extend_ms": milliseconds})


def check(parts: dict[str, Any]) -> None:
    """Compare what a double and an aggregator make of a settle."""
    body = {"lease": render_token(TOKEN), **parts}
    expected = outcome(partial(parse_settle, json.dumps(body).encode()))
    settle = outcome(partial(settle_command, "s", settle_of(body), TOKEN))
    if isinstance(settle, commands.Settle):
        named = (settle.ack, settle.retry, settle.dead, settle.release)
        assert bool(settle.digest) == any(named)
        settle = SettleRequest(
            token=settle.token,
            ack=settle.ack,
            retry=settle.retry,
            dead=settle.dead,
            release=settle.release,
            extend_ms=settle.extend_ms,
        )
    assert settle == expected, parts


def test_settle_has_ten_thousand_entries_at_most() -> None:
    for count, taken in ((10_000, True), (10_001, False)):
        settle = Settle("l", ack=[("a", 1, 1)] * (count - 1), release=[("a", 1, 1)])
        assert (outcome(partial(settle_command, "s", settle, TOKEN)) != "refused") is taken


def test_settles_that_differ_have_different_digests() -> None:
    places = [("a", 1, 1)]
    settles = [
        Settle("l", ack=places),
        Settle("l", release=places),
        Settle("l", release=[("b", 1, 1)]),
        Settle("l", ack=[("a", 1, 2)]),
        Settle("l", retry=[Retry("a", 1, None, None)]),
        Settle("l", retry=[Retry("a", 1, 0, None)]),
        Settle("l", retry=[Retry("a", 1, None, "e")]),
        Settle("l", dead=[Death("a", 1, None)]),
        Settle("l", ack=places, dead=[Death("a", 2, "e")]),
    ]
    digests = {settle_command("s", each, TOKEN).digest for each in settles}
    assert len(digests) == len(settles)
    # How long it is extended is no part of it.
    extended = settle_command("s", settles[0]._replace(extend_ms=5000), TOKEN)
    assert extended.digest == settle_command("s", settles[0], TOKEN).digest

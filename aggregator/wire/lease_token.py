"""The text of a lease: what a consumer shows to settle it, and no business of its own."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from aggregator.wire.event_rules import name_rule_broken, topic_rule_broken
from storage.model import INT64_MAX
from storage.subscriptions.commands import Token

MAX_TOKEN_CHARACTERS = 16 * 1024

_IDS = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
_decode = msgspec.msgpack.Decoder(Token).decode
_encode = msgspec.msgpack.Encoder().encode


class TokenUnreadable(ValueError):
    """A text is not one that a lease gave."""


def render_token(token: Token) -> str:
    """Render a token as text: A-Z, a-z, 0-9, - and _."""
    return urlsafe_b64encode(_encode(token)).decode().rstrip("=")


def parse_token(text: str) -> Token:
    """Parse the text of a token.

    It may be made up: what it says is checked for its form here, and by storage for its truth.

    Raises:
        TokenUnreadable: it is none.
    """
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise TokenUnreadable
    try:
        token = _decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise TokenUnreadable from error
    if not (
        _IDS.fullmatch(token.subscription)
        and _IDS.fullmatch(token.lease)
        and name_rule_broken(token.consumer) is None
    ):
        raise TokenUnreadable
    for topic, first, last in token.extents:
        if not 1 <= first <= last <= INT64_MAX or topic_rule_broken(topic):
            raise TokenUnreadable
    return token

"""The text of a lease leads back to its token; any other text leads nowhere."""

from base64 import urlsafe_b64encode

import msgspec
import pytest

from aggregator.wire.lease_token import (
    MAX_TOKEN_CHARACTERS,
    TokenUnreadable,
    parse_token,
    render_token,
)
from storage.subscriptions.commands import Token

UUID = "0193d3a0-0000-7000-8000-000000000000"
LARGEST = Token(
    UUID,
    UUID,
    "\N{GRINNING FACE}" * 256,
    tuple((f"{n:02d}" + "t" * 247, 2**63 - 2, 2**63 - 1) for n in range(32)),
)


def made_up(**changes: object) -> str:
    """The text of a token that no lease gave."""
    members: dict[str, object] = {
        "subscription": UUID,
        "lease": UUID,
        "consumer": "w",
        "extents": [["orders", 1, 2]],
    }
    content = msgspec.msgpack.encode(list((members | changes).values()))
    return urlsafe_b64encode(content).decode().rstrip("=")


@pytest.mark.parametrize("token", [LARGEST, Token("s", "l", "c", ())])
def test_tokens_go_there_and_back(token: Token) -> None:
    text = render_token(token)
    assert parse_token(text) == token
    assert len(text) <= MAX_TOKEN_CHARACTERS
    assert text.isascii()
    assert text.replace("-", "").replace("_", "").isalnum()


def test_what_is_made_up_may_be_a_token() -> None:
    assert parse_token(made_up()) == Token(UUID, UUID, "w", (("orders", 1, 2),))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "opaque",
        "\N{SNOWMAN}",
        "A" * (MAX_TOKEN_CHARACTERS + 1),
        urlsafe_b64encode(b"\x91" * 5000).decode(),
        render_token(LARGEST)[:-2],
        made_up(extents=[["orders", 0, 2]]),
        made_up(extents=[["orders", 3, 2]]),
        made_up(extents=[["orders", 1, 2**63]]),
        made_up(extents=[["or\0ders", 1, 2]]),
        made_up(extents=[["orders", 1, "2"]]),
        made_up(consumer="a\0"),
        made_up(consumer=""),
        made_up(lease="a\0"),
        made_up(lease=""),
        made_up(subscription="x" * 65),
    ],
)
def test_any_other_text_is_unreadable(text: str) -> None:
    with pytest.raises(TokenUnreadable):
        parse_token(text)

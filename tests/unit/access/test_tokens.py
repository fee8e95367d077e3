"""Tokens: their form, the checksum that finds typing errors, and their digest."""

import hashlib
import re
import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.access.tokens import digest_of, is_well_formed, masked, new_token

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
TOKEN = new_token()


def test_new_token_has_a_prefix_256_random_bits_and_a_checksum() -> None:
    tokens = {new_token() for _ in range(500)}
    assert len(tokens) == 500
    highest = 0
    for token in tokens:
        assert re.fullmatch(r"agr_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", token)
        numbers = [0, 0]
        for place, text in enumerate((token[4:47], token[47:])):
            for character in text:
                numbers[place] = numbers[place] * 62 + _DIGITS.index(character)
        assert numbers[1] == zlib.crc32(token[:47].encode())
        assert is_well_formed(token)
        highest = max(highest, numbers[0])
    # Of 500 numbers of 256 bits, one has its highest bit set.
    assert 2**255 <= highest < 2**256


@given(st.integers(0, len(TOKEN) - 1), st.sampled_from(_DIGITS))
def test_one_other_character_is_a_typing_error(place: int, character: str) -> None:
    typed = TOKEN[:place] + character + TOKEN[place + 1 :]
    assert is_well_formed(typed) == (typed == TOKEN)


@given(st.integers(0, len(TOKEN) - 2))
def test_two_characters_in_the_wrong_order_are_a_typing_error(place: int) -> None:
    typed = TOKEN[:place] + TOKEN[place + 1] + TOKEN[place] + TOKEN[place + 2 :]
    assert is_well_formed(typed) == (typed == TOKEN)


@pytest.mark.parametrize(
    "text",
    ["", "agr_", TOKEN[:-1], f"{TOKEN}0", f"{TOKEN}\n", f" {TOKEN}", TOKEN.upper(), "agr_" * 13],
    # The names of tests must be the same in every process.
    ids=lambda _: "text",
)
def test_other_texts_are_no_tokens(text: str) -> None:
    assert not is_well_formed(text)


@given(st.text(max_size=60))
def test_any_text_is_a_token_or_none(text: str) -> None:
    assert not is_well_formed(text)


def test_digest_is_the_sha256_of_the_whole_token() -> None:
    assert digest_of(TOKEN) == hashlib.sha256(TOKEN.encode()).digest()


def test_masked_text_has_nothing_of_a_token_but_its_prefix() -> None:
    assert masked(f"no {TOKEN}, nor 'agr_abc'") == "no agr_…, nor 'agr_…'"

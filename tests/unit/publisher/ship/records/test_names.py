"""Whatever a name holds, it is made one that an aggregator takes, and two names stay two."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.ship.records.names import is_source, made_id, made_source, made_topic

# `st.text` would leave lone surrogates out.
NAMES = st.lists(st.characters() | st.sampled_from("ab./\0\x7f\udcff\ud800")).map("".join)
LONG = NAMES.map(lambda text: text * 60)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


@given(NAMES | LONG)
def test_topic_is_one_and_stays_one(text: str) -> None:
    topic = made_topic(text)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic)
    assert made_topic(topic) == topic
    if topic != text:
        assert topic == re.sub(r"[^A-Za-z0-9._-]", "_", text)[:240] + "-" + sha256(text)[:8]


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("a" * 249, "a" * 249),
        ("a" * 250, "a" * 240 + "-" + sha256("a" * 250)[:8]),
        ("", "-e3b0c442"),
        ("shöp", "sh_p-" + sha256("shöp")[:8]),
    ],
)
def test_topics_that_were_none(text: str, topic: str) -> None:
    assert made_topic(text) == topic


@given(NAMES | LONG)
def test_id_is_itself_or_a_digest(text: str) -> None:
    fits = 1 <= len(text) <= 256 and not re.search("[\x00-\x1f\x7f\ud800-\udfff]", text)
    assert made_id(text) == (text if fits else f"sha256:{sha256(text)}")


@given(NAMES | LONG)
def test_source_is_one(text: str) -> None:
    source = made_source(text)
    assert is_source(source)
    assert not is_source(text) or source == text


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("web-1:/var/log/app 100%.log", "web-1:/var/log/app 100%.log"),
        ("a\nb\x7f", "a%0Ab%7F"),
        (b"caf\xe9".decode(errors="surrogateescape"), "caf%E9"),
        ("\n" * 100, "%0A" * 78 + "%-" + sha256("%0A" * 100)[:20]),
        ("", "-"),
    ],
)
def test_source_is_the_text_as_far_as_possible(text: str, source: str) -> None:
    assert made_source(text) == source

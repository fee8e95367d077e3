"""Masking: what msgspec refuses becomes readable for it, and comes back as it was sent."""

import re

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.json_texts import damaged, depth_of, is_json, values, wrapped

from aggregator.wire.errors import MalformedBody
from aggregator.wire.event_rules import MAX_NESTING, nests_too_deep
from aggregator.wire.json_masking import Masked

KEPT = 149
"""The levels below which nothing is masked for its depth."""

TEXTS = values() | wrapped(values(), st.integers(0, 140))
DEEP = (
    TEXTS
    | wrapped(values(), st.integers(140, 460))
    | wrapped(wrapped(values(), st.integers(0, 160)), st.integers(0, 160))
)


def readable(body: bytes) -> bool:
    """Whether the masked body decodes."""
    try:
        msgspec.json.decode(Masked(body, flatten=True).body, type=msgspec.Raw)
    except (MalformedBody, msgspec.DecodeError):
        return False
    return True


@given(TEXTS)
def test_shallow_text_is_restored_as_it_was_sent(text: str) -> None:
    body = text.encode()
    masked = Masked(body, flatten=True)
    assert masked.restore(masked.body) == body
    assert masked.sent_size(masked.body) == len(body)
    assert depth_of(text) > KEPT or not masked.has_deep(masked.body)


@given(DEEP)
def test_masked_json_is_decodable_and_keeps_its_size(text: str) -> None:
    body = text.encode()
    masked = Masked(body, flatten=True)
    msgspec.json.decode(masked.body, type=msgspec.Raw)
    assert depth_of(masked.body.decode()) <= KEPT
    assert masked.has_deep(masked.body) == (depth_of(text) > KEPT)
    assert masked.sent_size(masked.body) == len(body)


@given(damaged(DEEP.map(str.encode)) | st.binary(max_size=20))
@example(b"[" * 400 + b"}" * 400)
@example(b"[" * 400 + b"1 1" + b"]" * 400)
@example(b"[" * 400 + b"]" * 399)
@example(b"[" * 399 + b"]" * 400)
@example(b'{"a":' * 160 + b'"\\x"' + b"}" * 160)
def test_masking_does_not_make_invalid_json_valid(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError:
        return  # refused before it is masked
    assert readable(body) == is_json(body)


@given(st.lists(values(), min_size=1, max_size=4))
def test_has_surrogate_is_true_exactly_for_parts_with_one(texts: list[str]) -> None:
    masked = Masked(("[" + ",".join(texts) + "]").encode(), flatten=True)
    parts = msgspec.json.decode(masked.body, type=list[msgspec.Raw])
    for text, part in zip(texts, parts, strict=True):
        assert masked.restore(bytes(part)) == text.encode()
        try:
            msgspec.json.decode(text.encode(), type=msgspec.Raw)
            lone = False
        except msgspec.DecodeError:
            lone = True
        assert masked.has_surrogate(bytes(part)) == lone


# What a string is made of, and whether it is one half of a surrogate pair.
HIGHS = st.sampled_from(["\\ud800", "\\uD83d", "\\udBfF"])
LOWS = st.sampled_from(["\\udc00", "\\uDe0a", "\\udFFF"])
OTHERS = st.sampled_from(
    ["x", "u", "ud800", "\\\\", "\\n", '\\"', "\\u00e9", "\\ud7ff", "\\ue000", "é"]
)
PIECES = st.lists(
    HIGHS.map(lambda text: ("high", text))
    | LOWS.map(lambda text: ("low", text))
    | OTHERS.map(lambda text: ("other", text)),
    max_size=12,
)


def lone_halves(pieces: list[tuple[str, str]]) -> list[bool]:
    """Of each piece, whether it is a half that has no other half beside it."""
    kinds = ["other", *(kind for kind, _ in pieces), "other"]
    return [
        (kind == "high" and after != "low") or (kind == "low" and before != "high")
        for before, kind, after in zip(kinds, kinds[1:], kinds[2:], strict=False)
    ]


@given(PIECES)
@example([("high", "\\ud800")])
@example([("other", "x"), ("low", "\\udc00")])
@example([("high", "\\ud800"), ("other", "\\n")])
@example([("high", "\\ud800"), ("high", "\\ud800"), ("low", "\\udc00"), ("low", "\\udc00")])
@example([("other", "\\\\"), ("other", "ud800"), ("low", "\\udc00")])
@example([("other", "\\\\"), ("high", "\\ud800"), ("low", "\\udc00")])
def test_only_lone_surrogates_are_marked(pieces: list[tuple[str, str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aggregator.wire.json_masking.secrets.token_hex", lambda _: "0mark0")
        masked = Masked(f'"{"".join(text for _, text in pieces)}"'.encode(), flatten=False)
    marked = [
        text.replace("\\u", "s0mark0s") if lone else text
        for (_, text), lone in zip(pieces, lone_halves(pieces), strict=True)
    ]
    assert masked.body.decode() == f'"{"".join(marked)}"'


@pytest.mark.parametrize(
    "cut",
    [
        "\\ud3d\\ude00",
        "\\u\\ude00",
        "\\ud80",
        "\\ud83d\\ude0",
        "\\ud8zz",
        "\\ud83d\\udezz",
        "\\ud8",
    ],
)
def test_truncated_escape_stays_invalid(cut: str) -> None:
    assert readable(b'"\\ud800"')
    assert not readable(f'"\\ud800 {cut}"'.encode())


def test_mark_does_not_occur_in_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = iter(["aaaa", "bbbb", "cccc"])
    monkeypatch.setattr("aggregator.wire.json_masking.secrets.token_hex", lambda _: next(marks))
    masked = Masked(b'["saaaas", "sbbbbd", "\\ud800"]', flatten=True)
    assert masked.body == b'["saaaas", "sbbbbd", "sccccsd800"]'
    assert masked.restore(masked.body) == b'["saaaas", "sbbbbd", "\\ud800"]'


def test_a_hundred_thousand_levels_are_masked_without_recursion() -> None:
    body = b"[" * 100_000 + b"]" * 100_000
    masked = Masked(body, flatten=True)
    assert masked.sent_size(masked.body) == len(body)
    assert readable(body)
    assert not readable(body[:-1])
    assert not readable(body[1:])


@given(DEEP | wrapped(values(), st.integers(118, 134)))
def test_nesting_is_counted_like_a_reference_counter(text: str) -> None:
    assert nests_too_deep(text.encode()) == (depth_of(text) > MAX_NESTING)


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        ("[" * 128 + "]" * 128, False),
        ("[" * 129 + "]" * 129, True),
        ("[" + ",".join(["[]"] * 1000) + "]", False),
        ('["' + "[" * 1000 + '"]', False),
        ('["\\"' + "[" * 1000 + '"]', False),
        ('["\\\\",' + "[" * 128 + "]" * 128 + "]", True),
        ('{"' + "{" * 200 + '":' + "[" * 127 + "]" * 127 + "}", False),
    ],
)
def test_brackets_in_strings_are_no_levels(text: str, deep: bool) -> None:
    assert is_json(text.encode())
    assert nests_too_deep(text.encode()) == deep
    assert re.search(r"[\[{]", text)

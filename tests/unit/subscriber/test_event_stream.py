"""The parser of event streams, against a model, and on each rule of the standard."""

import collections
import itertools
import re
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from subscriber.event_stream import Block, BlockTooLarge, EventStreamParser

LINES = st.one_of(
    st.sampled_from(
        [
            b"", b":", b": ping", b"data", b"data:", b"data: ", b"data:  two", b"data: a:b",
            b"id", b"id: 7", b"id:8", b"id: a\0b", b"id: \xff", b"event: gap", b"event",
            b"retry: 10", b"retry: -1", b"retry: 1.5", b"retry", b"retry: \xd9\xa3",
            b"other: x", b"\xef\xbb\xbfdata: bom", b" data: x", b"Data: x",
        ]
    ),
    st.binary(max_size=8).map(lambda text: text.translate(None, b"\r\n")),
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream, and the same in pieces."""
    start = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    lines = draw(st.lists(st.tuples(LINES, ENDS), max_size=25))
    text = start + b"".join(line + end for line, end in lines) + draw(LINES)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return text, [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def model(text: bytes) -> list[Block]:
    """The blocks of a whole stream, by the words of the standard: decode, split, interpret."""
    characters = text.decode(errors="surrogateescape").removeprefix("\ufeff")
    *lines, _ = re.split("\r\n|\n|\r", characters)
    blocks = []
    fields: dict[str, str | int] = {}
    for line in lines:
        if line == "":
            if {"data", "id", "retry"} & set(fields):
                data = str(fields["data"])[:-1] if "data" in fields else None
                name = str(fields.get("event") or "message")
                position = replaced(fields["id"]) if "id" in fields else None
                retry = fields.get("retry")
                assert retry is None or isinstance(retry, int)
                encoded = None if data is None else data.encode(errors="surrogateescape")
                blocks.append(Block(replaced(name), encoded, position, retry))
            fields = {}
            continue
        if line[0] == ":":
            continue
        found = re.fullmatch("([^:]*)(?:: ?(.*))?", line, re.DOTALL)
        assert found
        name, value = found[1], found[2] or ""
        if name == "data":
            fields["data"] = f"{fields.get('data', '')}{value}\n"
        elif name == "event" or (name == "id" and "\0" not in value):
            fields[name] = value
        elif name == "retry" and re.fullmatch("[0-9]+", value):
            fields["retry"] = int(value)
    return blocks


def replaced(text: object) -> str:
    return str(text).encode(errors="surrogateescape").decode(errors="replace")


def parsed(pieces: Iterable[bytes]) -> list[Block]:
    parser = EventStreamParser()
    return [block for piece in pieces for block in parser.feed(piece)]


@given(streams())
@example((b"id: 1\r\n\r\n", [b"id: 1\r", b"\n", b"\r", b"\n"]))
@example((b"\xef\xbb\xbfid: 1\n\n", [b"\xef", b"\xbb\xbfid", b": 1\n\n"]))
def test_blocks_are_those_of_the_model_wherever_the_pieces_are_cut(
    stream: tuple[bytes, list[bytes]],
) -> None:
    text, pieces = stream
    assert parsed(pieces) == model(text)


@given(streams())
def test_a_block_is_given_with_the_byte_that_ends_it(stream: tuple[bytes, list[bytes]]) -> None:
    text, _ = stream
    parser = EventStreamParser()
    for number in range(len(text)):
        expected = len(model(text[: number + 1])) - len(model(text[:number]))
        assert len(parser.feed(text[number : number + 1])) == expected


def test_comment_without_an_empty_line_belongs_to_the_block_that_follows() -> None:
    assert parsed([b":\n", b":\nid: 3\ndata: x\n\n"]) == [Block("message", b"x", "3", None)]


def test_retry_too_long_to_wait_for_is_ignored() -> None:
    assert parsed([b"retry: " + b"9" * 5000 + b"\nid: 1\n\n"]) == [
        Block("message", None, "1", None)
    ]


@pytest.mark.parametrize(
    "piece", [b"x", b"data: x\n", b"data:\n", b": x"], ids=["line", "data", "empty", "comment"]
)
def test_block_above_the_limit_is_refused(piece: bytes) -> None:
    parser = EventStreamParser(max_block_bytes=10_000)
    pieces = itertools.repeat(piece, 10_001)
    with pytest.raises(BlockTooLarge, match=r"^a block has more than 10,000 bytes$"):
        collections.deque(map(parser.feed, pieces), maxlen=0)


def test_comments_and_earlier_blocks_do_not_count_towards_the_limit() -> None:
    parser = EventStreamParser(max_block_bytes=100)
    for _ in range(50):
        parser.feed(b": a comment\n")
        assert parser.feed(b"data: 12345678\n\n") == [Block("message", b"12345678", None, None)]

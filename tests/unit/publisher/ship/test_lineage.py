"""Ids depend on the source and the bytes up to the line alone; a content is known again."""

import os
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from publisher.ship.lineage import HEAD_BYTES, TAIL_BYTES, Line, advance, first_start, start
from publisher.ship.lines import MAX_PIECE_BYTES, Splitter

any_lines = st.lists(st.sampled_from([b"one\n", b"two\r\n", b"\n", b"\xff\n", b"x" * 700 + b"\n"]))


def lines_of(content: bytes, source: str = "app.log", salt: str = "") -> list[Line]:
    splitter = Splitter(max_piece_bytes=MAX_PIECE_BYTES)
    progress = start(source, salt)
    lines = []
    for piece in splitter.feed(content) + splitter.finish():
        lines.append(advance(progress, piece))
        progress = lines[-1].progress
    return lines


def ids_of(content: bytes, source: str = "app.log", salt: str = "") -> list[str]:
    return [line.line_id for line in lines_of(content, source, salt)]


def test_the_form_of_an_id() -> None:
    first, second = ids_of(b"start\nready\n")
    digest = re.compile(r"([0-9a-f]{20})-(\d{12})-([0-9a-f]{20})")
    fingerprint, position, digits = digest.fullmatch(first).groups()  # type: ignore[union-attr]
    assert (fingerprint, position) == (digits, "000000000000")
    assert second.startswith(f"{fingerprint}-000000000006-")
    assert first < second


@given(any_lines, any_lines)
def test_contents_share_ids_exactly_as_far_as_they_are_alike(
    one: list[bytes], other: list[bytes]
) -> None:
    alike = next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    ids, other_ids = ids_of(b"".join(one)), ids_of(b"".join(other))
    assert ids[:alike] == other_ids[:alike]
    assert set(ids[alike:]).isdisjoint(other_ids[alike:])
    assert len(set(ids)) == len(ids)


def test_a_line_that_was_under_way_is_another_one_when_it_is_complete() -> None:
    assert ids_of(b"start\nrea")[:1] == ids_of(b"start\nready\n")[:1]
    assert ids_of(b"start\nrea")[1:] != ids_of(b"start\nready\n")[1:]
    assert ids_of(b"sta") != ids_of(b"start\n")


def test_another_source_or_salt_gives_other_ids() -> None:
    ids = {*ids_of(b"a\nb\n"), *ids_of(b"a\nb\n", "other"), *ids_of(b"a\nb\n", salt="1")}
    assert len(ids) == 6
    assert set(ids_of(b"a\n", "ab", "c")).isdisjoint(ids_of(b"a\n", "a", "bc"))


def test_the_parts_of_a_long_line_are_told_from_lines() -> None:
    lines = lines_of(b"x" * (MAX_PIECE_BYTES + 5) + b"\nend\n")
    assert [line.begins for line in lines] == [True, False, True]


@given(any_lines)
def test_a_place_has_the_ends_of_what_is_before_it(lines: list[bytes]) -> None:
    content = b""
    for line, given_line in zip(lines, lines_of(b"".join(lines)), strict=True):
        content += line
        progress = given_line.progress
        assert progress.position == len(content)
        assert progress.head == content[:HEAD_BYTES]
        assert progress.tail == content[-TAIL_BYTES:]


@given(any_lines)
def test_a_content_is_found_in_what_goes_on_from_it_alone(lines: list[bytes]) -> None:
    content = b"".join([b"first\n", *lines])
    progress = lines_of(content)[-1].progress
    file = os.memfd_create("log")
    try:
        for held, found in [
            (content, True),
            (content + b"more", True),
            (content[:-1], False),
            (b"F" + content[1:], False),
            (content[:-1] + b"\0", False),
            (b"", False),
        ]:
            os.truncate(file, 0)
            os.pwrite(file, held, 0)
            assert progress.follows(file) is found
    finally:
        os.close(file)


def test_a_content_that_begins_like_others_gets_a_start_of_its_own(tmp_path: Path) -> None:
    piece = Splitter().feed(b"heading\n")[0]
    taken: set[str] = set()
    for _ in range(3):
        line = advance(first_start("app.log", piece, taken), piece)
        assert line.progress.fingerprint not in taken
        taken.add(line.progress.fingerprint)
    assert ids_of(b"heading\n")[0].split("-")[0] in taken

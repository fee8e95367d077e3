"""Which entry a cursor names."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.ship.journal.cursors import Finding, Search, cursor_of, time_of, without_numbers

CURSOR = "s=1c;i=3;b=aa;m=f4240;t=60a24181e4000;x=38"


@given(
    st.dictionaries(
        st.sampled_from("CDE"),
        st.text(max_size=9) | st.lists(st.text(max_size=9), max_size=3) | st.none(),
    ),
    st.integers(0, 9),
    st.booleans(),
)
def test_the_cursor_of_an_entry_is_found_among_texts_that_look_like_it(
    fields: dict[str, str | list[str] | None], place: int, is_close: bool
) -> None:
    fields = {"A": f'"__CURSOR":"{CURSOR}0"', "B": ["__CURSOR", '":"x"'], **fields}
    members = list(fields.items())
    members.insert(place, ("__CURSOR", CURSOR))
    separators = (",", ":") if is_close else (", ", ": ")
    assert cursor_of(json.dumps(dict(members), separators=separators).encode()) == CURSOR


@pytest.mark.parametrize(
    "line", [b"", b"-- No entries --", b'{"MESSAGE":"x"}', b'-- "__CURSOR":"s=1"']
)
def test_a_line_that_is_no_entry_has_no_cursor(line: bytes) -> None:
    assert cursor_of(line) is None


def test_without_a_cursor_every_entry_is_behind() -> None:
    assert Search(None).look(CURSOR) is Finding.BEHIND


@pytest.mark.parametrize(
    ("cursor", "finding"),
    [
        (CURSOR, Finding.FOUND),
        ("s=ff;i=9;b=aa;m=f4240;t=60a24181e4000;x=38", Finding.FOUND),
        ("s=1c;i=3;b=aa;m=f4240;t=60a24181e4000;x=39", Finding.BESIDE),
        ("s=1c;i=4;b=aa;m=f4241;t=60a24181e4001;x=38", Finding.MISSED),
        ("s=1c;i=3;b=bb;m=f4240;t=60a24181e4000;x=38", Finding.MISSED),
        ("s=1c;i=3", Finding.MISSED),
        ("nonsense", Finding.MISSED),
    ],
)
def test_the_entry_of_a_cursor_is_known_by_boot_times_and_digest(
    cursor: str, finding: Finding
) -> None:
    search = Search(CURSOR)
    assert search.look(cursor) is finding
    assert search.is_over is (finding is not Finding.BESIDE)
    if search.is_over:
        assert search.look(CURSOR) is Finding.BEHIND


def test_a_cursor_of_an_unknown_form_is_known_by_its_text() -> None:
    assert Search("unknown").look(CURSOR) is Finding.MISSED
    assert Search("unknown").look("unknown") is Finding.FOUND


@pytest.mark.parametrize(
    ("cursor", "time"),
    [
        (CURSOR, "2023-11-14T22:13:20Z"),
        ("b=a;m=1;t=ffffffffffffffff;x=1", "an unknown time"),
        ("b=a;m=1;t=z;x=1", "an unknown time"),
        ("s=1", "an unknown time"),
        (None, "an unknown time"),
    ],
)
def test_the_time_of_a_cursor_is_told(cursor: str | None, time: str) -> None:
    assert time_of(cursor) == time


def test_a_cursor_without_numbers_has_times_and_digest() -> None:
    assert without_numbers(CURSOR) == "b=aa;m=f4240;t=60a24181e4000;x=38"
    assert without_numbers("s=1;i=2") == "s=1;i=2"

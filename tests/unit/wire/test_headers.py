"""The headers of a publish, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.wire.errors import UnsupportedMediaType
from aggregator.wire.headers import (
    Preferences,
    parse_content_encoding,
    parse_content_type,
    parse_prefer,
    parse_wait,
)

NONE, MINIMAL, LENIENT, BOTH = (
    Preferences(minimal, lenient)
    for minimal, lenient in ((False, False), (True, False), (False, True), (True, True))
)


@pytest.mark.parametrize(
    ("headers", "preferences"),
    [
        ([], NONE),
        ([""], NONE),
        (["return=minimal"], MINIMAL),
        (["handling=lenient"], LENIENT),
        (["return=minimal, handling=lenient"], BOTH),
        (["handling=lenient", "return=minimal"], BOTH),
        (["handling=lenient,return=minimal"], BOTH),
        ([",, return=minimal ,"], MINIMAL),
        (["Return=MINIMAL"], MINIMAL),
        (['return="minimal"'], MINIMAL),
        (["return = minimal ; strict=1"], MINIMAL),
        (['return=minimal; note="a, b; handling=lenient"'], MINIMAL),
        (['wait=10; note="return=minimal", handling=lenient'], LENIENT),
        (['note="handling=lenient, return=minimal"'], NONE),
        (['note="\\", handling=lenient"'], NONE),
        (["respond-async, return=minimal"], MINIMAL),
        (["return=minimal, return=representation"], MINIMAL),
        (["return=representation, return=minimal"], NONE),
        (["return=representation", "return=minimal"], NONE),
        (["return"], NONE),
        (["return="], NONE),
        (["minimal"], NONE),
        (["xreturn=minimal"], NONE),
        (["return=minimal2"], NONE),
        (["return=mini mal"], NONE),
        (["return/minimal, handling=lenient"], LENIENT),
        (["=, ;, @, handling=lenient"], LENIENT),
        (['note="never closed, return=minimal'], NONE),
        (["handling=strict"], NONE),
    ],
)
def test_prefer_is_parsed_by_rfc_7240(headers: list[str], preferences: Preferences) -> None:
    assert parse_prefer(headers) == preferences


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([""], None),
        (["wait=1"], 1),
        (["wait=60"], 60),
        (["WAIT = 007"], 7),
        (['wait="30"'], 30),
        (["return=minimal, wait=5; x"], 5),
        (["return=minimal", "wait=5"], 5),
        (["wait=5", "wait=6"], 5),
        (["wait=0, wait=6"], None),
        (["wait=0"], None),
        (["wait=61"], None),
        (["wait=100"], None),
        (["wait=1.0"], None),
        (["wait=-1"], None),
        (["wait=+1"], None),
        (["wait=1s"], None),
        (["wait=\u0665"], None),
        (["wait"], None),
        (["wait="], None),
        (["wait=" + "0" * 5000 + "1"], None),
        (["wait=" + "9" * 5000], None),
        (['note="wait=5"'], None),
    ],
)
def test_wait_is_parsed_by_rfc_7240(headers: list[str], seconds: int | None) -> None:
    assert parse_wait(headers) == seconds


@given(st.lists(st.text('wait=0169,; "\\', max_size=30), max_size=3))
def test_any_wait_is_parsed_and_the_first_value_counts(headers: list[str]) -> None:
    assert parse_wait(headers) in {None, *range(1, 61)}
    assert parse_wait(["wait=17", *headers]) == 17


@given(st.lists(st.text('ret=minal,; "\\hdg', max_size=30), max_size=3))
def test_any_prefer_is_parsed_and_the_first_value_counts(headers: list[str]) -> None:
    parse_prefer(headers)
    assert parse_prefer(["return=minimal, handling=lenient", *headers]) == BOTH


@pytest.mark.parametrize(
    ("preferences", "applied"),
    [
        (NONE, ""),
        (MINIMAL, "return=minimal"),
        (LENIENT, "handling=lenient"),
        (BOTH, "return=minimal, handling=lenient"),
    ],
)
def test_applied_lists_the_applied_preferences(preferences: Preferences, applied: str) -> None:
    assert preferences.applied == applied


@pytest.mark.parametrize(
    ("header", "ndjson"),
    [
        (None, False),
        ("", False),
        ("application/json", False),
        ("APPLICATION/JSON", False),
        (" application/json ; charset=utf-8", False),
        ('application/json;charset="UTF-8"', False),
        ("application/json; charset=utf8", False),
        ("application/json; version=1", False),
        ("application/x-ndjson", True),
        ("application/x-ndjson;charset=UTF-8", True),
    ],
)
def test_supported_media_type_is_accepted(header: str | None, ndjson: bool) -> None:
    assert parse_content_type(header) is ndjson


@pytest.mark.parametrize(
    "header",
    [
        "text/plain",
        "text/json",
        "application/ndjson",
        "application/jsonx",
        "application/*",
        "json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        ";",
        " ",
        "/",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/json; charset=",
        "application/x-ndjson; charset=ascii",
        "application/json\udcff",
        "application/json; charset=\udcff",
    ],
)
def test_unsupported_media_type_is_refused(header: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        parse_content_type(header)


@pytest.mark.parametrize(
    ("headers", "gzip"),
    [
        ([], False),
        ([""], False),
        (["identity"], False),
        (["gzip"], True),
        (["GZip"], True),
        (["x-gzip"], True),
        ([" gzip "], True),
        (["", "gzip"], True),
    ],
)
def test_supported_content_encoding_is_accepted(headers: list[str], gzip: bool) -> None:
    assert parse_content_encoding(headers) is gzip


@pytest.mark.parametrize(
    "headers",
    [
        ["deflate"],
        ["br"],
        ["zstd"],
        ["gzip, gzip"],
        ["gzip", "gzip"],
        ["gzip, br"],
        ["identity, gzip"],
        ["gzip;q=1"],
        ["compress"],
        ["\udcff"],
    ],
)
def test_unsupported_content_encoding_is_refused(headers: list[str]) -> None:
    with pytest.raises(UnsupportedMediaType):
        parse_content_encoding(headers)

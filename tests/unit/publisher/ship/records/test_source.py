"""Templates make sources of names and fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publisher.ship.records.names import is_source
from publisher.ship.records.source import SourceTemplate

RECORD: dict[str, object] = {"a": {"b": "x"}, "n": "1.50", "t": True, "l": ["1"], "z": None}


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("app", "app"),
        ("{host}:{path}", "web-1:/var/log/app.log"),
        ("{name}", "app.log"),
        ("{{{name}}}", "{app.log}"),
        ("{{host}}", "{host}"),
        ("{field:a.b}-{field:n}", "x-1.50"),
        ("{field:t}{field:l}{field:z}{field:a}{field:no}", "true----"),
    ],
)
def test_source_of_a_record(text: str, source: str) -> None:
    template = SourceTemplate.parse(text)
    assert template.of_record("web-1", "/var/log/app.log", "app.log", RECORD) == source
    assert template.has_fields == ("field:" in text)


def test_source_of_a_content_has_no_fields() -> None:
    template = SourceTemplate.parse("{name}/{field:a.b}")
    assert template.of_content("web-1", "/var/log/app.log", "app.log") == "app.log/-"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{hots}", "'{hots}'"),
        ("a{", "'{'"),
        ("a}b", "'}'"),
        ("{field:}", "'{field:}'"),
        ("{}", "'{}'"),
        ("{host", "'{'"),
        ("{field:{host}}", "'{'"),
        ("", "empty"),
    ],
)
def test_template_that_is_wrong_is_refused(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match="--source") as refused:
        SourceTemplate.parse(text)
    assert wrong in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.lists(st.characters() | st.sampled_from("\0\udcff\ud800"), max_size=300).map("".join))
def test_result_is_a_source_whatever_a_field_holds(value: str) -> None:
    assert is_source(SourceTemplate.parse("{field:a}").of_record("", "", "", {"a": value}))


def test_source_of_an_empty_name_is_a_dash() -> None:
    assert SourceTemplate.parse("{name}").of_content("h", "/", "") == "-"

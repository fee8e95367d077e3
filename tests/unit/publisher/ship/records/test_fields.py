"""Members are found by dotted paths."""

import pytest

from publisher.ship.records.fields import FieldMissing, FieldUnfit, member, text_field

RECORD = {"a.b": "1", "a": {"b": "2", "c": {"d": "3"}, "e.f": "4"}, "g": "5", "": "6", "h": None}


@pytest.mark.parametrize(
    ("path", "value"),
    [("a.b", "1"), ("a.c.d", "3"), ("a.e.f", "4"), ("g", "5"), ("", "6"), ("h", None)],
)
def test_member_of_a_path(path: str, value: object) -> None:
    assert member(RECORD, path) == value


@pytest.mark.parametrize("path", ["b", "a.x", "g.a", "a.c.d.e", "a.", ".a", "h.a"])
def test_member_that_is_missing_is_named(path: str) -> None:
    with pytest.raises(FieldMissing) as missing:
        text_field(RECORD, path)
    assert str(missing.value) == f"it has no field {path!r}"


def test_member_that_is_no_text_is_refused() -> None:
    with pytest.raises(FieldUnfit, match="its field 'a' is an object, not a string or a number"):
        text_field(RECORD, "a")

"""Members of JSON objects by dotted paths."""

from collections.abc import Mapping

_KINDS: dict[type, str] = {dict: "an object", list: "an array", bool: "a boolean"}


class FieldMissing(ValueError):
    """A record has no such field; the message is one sentence."""


class FieldUnfit(ValueError):
    """A field of a record has a value of another kind; the message is one sentence."""


def member(record: Mapping[str, object], path: str) -> object:
    """Give a member of a record.

    Args:
        record: a JSON object.
        path: `a.b` is the member `a.b` if there is one, else the member `b` of the object `a`.

    Raises:
        FieldMissing: there is none.
    """
    inner: object = record
    rest = path
    while isinstance(inner, Mapping):
        if rest in inner:
            return inner[rest]
        first, _, rest = rest.partition(".")
        if not rest or first not in inner:
            break
        inner = inner[first]
    raise FieldMissing(f"it has no field {path!r}")


def text_field(record: Mapping[str, object], path: str) -> str:
    """Give a member of a record that is a string, or a number as its text.

    Args:
        record: a JSON object, with its numbers as their text.
        path: as for `member`.

    Raises:
        FieldMissing: there is none.
        FieldUnfit: it is something else.
    """
    value = member(record, path)
    if not isinstance(value, str):
        kind = _KINDS.get(type(value), "null")
        raise FieldUnfit(f"its field {path!r} is {kind}, not a string or a number")
    return value

"""An entry of the tokens file as TOML."""

import json
from collections.abc import Iterator, Mapping, Sequence

Value = str | int | bool | Sequence[str]


def entry_text(fields: Mapping[str, Value | None], expires: str | None) -> str:
    """Return an entry as TOML.

    Args:
        fields: its keys and values; one without a value, an empty list or false is left out.
        expires: a date-time of RFC 3339, or None.
    """
    return "".join(f"{line}\n" for line in _lines(fields, expires))


def _lines(fields: Mapping[str, Value | None], expires: str | None) -> Iterator[str]:
    yield "[[entry]]"
    for key, value in fields.items():
        # A limit of 0 says something, an empty list does not.
        if value is None or value is False or value == []:
            continue
        yield f"{key} = {_rendered(value)}"
    if expires is not None:
        yield f"expires = {expires}"


def _rendered(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        # The escapes of JSON are those of TOML, which has one more.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return f"[{', '.join(map(_rendered, value))}]"

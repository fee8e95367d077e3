"""Templates of sources: names of a content and fields of its records in a text."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from publisher.ship.records.fields import FieldMissing, member
from publisher.ship.records.names import made_source

_FIELD = "field:"
_NAMES = frozenset({"host", "path", "name"})
_MISSING = "-"
_tokens = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+").findall


class _Part(NamedTuple):
    """A part of a template: a text, a name of the content, or a path of a field."""

    kind: str
    text: str


class SourceTemplate:
    """A template makes the sources of events.

    Args:
        text: the template.
        parts: as `parse` makes them.
    """

    def __init__(self, text: str, parts: tuple[_Part, ...]) -> None:
        self._text = text
        self._parts = parts
        self.has_fields = any(part.kind == "field" for part in parts)
        """Whether sources may differ from record to record."""

    @classmethod
    def parse(cls, text: str) -> "SourceTemplate":
        """Parse a template.

        Args:
            text: with `{host}`, `{path}`, `{name}` and `{field:a.b}`; `{{` and `}}` are braces.

        Raises:
            ValueError: there is anything else in braces, or nothing at all; one sentence.
        """
        if not text:
            raise ValueError("--source is empty; it takes 1 to 256 characters")
        return cls(text, tuple(_part(token, text) for token in _tokens(text)))

    def __str__(self) -> str:
        """Return the template as it was given."""
        return self._text

    def of_content(self, host: str, path: str, name: str) -> str:
        """Make the source of a content; `-` stands for fields."""
        return self.of_record(host, path, name, {})

    def of_record(self, host: str, path: str, name: str, record: Mapping[str, object]) -> str:
        """Make the source of a record of a content.

        Args:
            host: name of the host.
            path: path of the content.
            name: base name of the path.
            record: a JSON object, with its numbers as their text; `-` stands for a field that it
                does not have, or that is no string, number or boolean.

        Returns:
            A text that is made a source where it is none.
        """
        names = {"host": host, "path": path, "name": name}
        return made_source(
            "".join(
                [
                    text
                    if kind == "text"
                    else names[text]
                    if kind == "name"
                    else _field(record, text)
                    for kind, text in self._parts
                ]
            )
        )


def _part(token: str, template: str) -> _Part:
    if token in {"{{", "}}"}:
        return _Part("text", token[0])
    if token[0] not in "{}":
        return _Part("text", token)
    inner = token[1:-1]
    if inner in _NAMES:
        return _Part("name", inner)
    if inner.startswith(_FIELD) and inner != _FIELD:
        return _Part("field", inner.removeprefix(_FIELD))
    raise ValueError(
        f"--source {template!r} has {token!r}: there are {{host}}, {{path}}, {{name}} and "
        "{field:a.b}, and a brace is written twice"
    )


def _field(record: Mapping[str, object], path: str) -> str:
    try:
        value = member(record, path)
    except FieldMissing:
        return _MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else _MISSING

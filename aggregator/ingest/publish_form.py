"""The form of a publish, as its headers have it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from multidict import CIMultiDictProxy

from aggregator.wire.headers import (
    Preferences,
    check_type_is_named,
    parse_content_encoding,
    parse_content_type,
    parse_prefer,
)

_CACHED_FORMS = 1000
_MAX_CACHED_CHARACTERS = 200


class PublishForm(NamedTuple):
    """The form of a publish, as its headers have it."""

    preferences: Preferences
    ndjson: bool
    gzip: bool
    response_headers: Mapping[str, str]


def publish_form(headers: CIMultiDictProxy[str]) -> PublishForm:
    """Read the form of a publish from its headers.

    Raises:
        UnsupportedMediaType: the form is none that is taken.
    """
    content_type = headers.get("Content-Type")
    check_type_is_named(headers)
    encodings = tuple(headers.getall("Content-Encoding", ()))
    preferences = tuple(headers.getall("Prefer", ()))
    # A publisher says the same each time; what is as long as nobody would write is not kept.
    lines = encodings + preferences
    length = len(content_type or "") + len(lines) + sum(map(len, lines))
    form = _cached_form if length <= _MAX_CACHED_CHARACTERS else _form
    return form(content_type, encodings, preferences)


def _form(
    content_type: str | None, content_encoding: tuple[str, ...], prefer: tuple[str, ...]
) -> PublishForm:
    preferences = parse_prefer(prefer)
    applied = preferences.applied
    return PublishForm(
        preferences,
        parse_content_type(content_type),
        parse_content_encoding(content_encoding),
        {"Preference-Applied": applied} if applied else {},
    )


_cached_form = lru_cache(_CACHED_FORMS)(_form)

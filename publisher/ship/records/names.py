"""Names that an aggregator takes are made of those that it would refuse."""

import hashlib
import re

MAX_SOURCE_CHARACTERS = 256
_MAX_TOPIC_CHARACTERS = 249
_TOPIC_CUT = 240
_TOPIC_DIGITS = 8
_SOURCE_DIGITS = 20
_NO_SOURCE = "-"

_is_topic = re.compile(rf"[A-Za-z0-9._-]{{1,{_MAX_TOPIC_CHARACTERS}}}").fullmatch
_not_in_a_topic = re.compile("[^A-Za-z0-9._-]")
_is_id = re.compile("[^\x00-\x1f\x7f\ud800-\udfff]{1,256}").fullmatch
_not_in_a_source = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_FIRST_BYTE, _LAST_BYTE = "\udc80", "\udcff"


def made_topic(text: str) -> str:
    """Give a text as a topic, itself if it is one.

    Every other character becomes `_`, more than 240 are cut, and `-` and 8 hex digits of its
    SHA-256 follow, so that two texts stay two topics.
    """
    if _is_topic(text):
        return text
    made = _not_in_a_topic.sub("_", text)[:_TOPIC_CUT]
    return f"{made}-{_sha256(text)[:_TOPIC_DIGITS]}"


def made_id(text: str) -> str:
    """Give a text as an event id: itself if it is one, else `sha256:` and its SHA-256 in hex."""
    return text if _is_id(text) else f"sha256:{_sha256(text)}"


def is_source(text: str) -> bool:
    """Tell whether an aggregator takes a text as a source."""
    return 1 <= len(text) <= MAX_SOURCE_CHARACTERS and not _not_in_a_source.search(text)


def made_source(text: str) -> str:
    """Give a text as a source, itself if it is one.

    Control characters and lone surrogates are percent-encoded, as bytes of a file name that are
    not UTF-8 if they stand for those. A text that gets too long is cut and ends in a digest of all
    of it. An empty one is `-`.
    """
    made = _not_in_a_source.sub(_percent_encoded, text)
    if len(made) <= MAX_SOURCE_CHARACTERS:
        return made or _NO_SOURCE
    digest = _sha256(made)[:_SOURCE_DIGITS]
    return f"{made[: MAX_SOURCE_CHARACTERS - len(digest) - 1]}-{digest}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _percent_encoded(match: re.Match[str]) -> str:
    character = match[0]
    of_a_byte = _FIRST_BYTE <= character <= _LAST_BYTE
    encoded = character.encode(errors="surrogateescape" if of_a_byte else "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in encoded)

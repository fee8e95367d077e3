"""Parsers of what a client accepts: media types and content codings, with their weights."""

import re
from collections.abc import Mapping, Sequence

# Linear time for any text: no part of it can be matched in two ways.
_MEMBER = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))++', re.DOTALL)
_WEIGHT = re.compile(r";[ \t]*+[qQ]=([^;]*+)")
_NUMBER = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*+", re.ASCII)

NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
JSON = "application/json"


def preferred_media_type(headers: Sequence[str]) -> str:
    """Return the media type of events that a client would rather have (RFC 9110, 12.5.1).

    JSON, an array, is what it gets unless it wants NDJSON or an event stream more; of these two,
    wanted equally, an event stream.

    Args:
        headers: the values of all `Accept` headers; without one anything is welcome.
    """
    weights = _weights(headers)
    # Of equal ones max() returns the first.
    return max((JSON, EVENT_STREAM, NDJSON), key=lambda each: _media_weight(weights, each))


def _media_weight(weights: Mapping[str, float], media_type: str) -> float:
    """Return the weight of a media type: that of the most specific range that it is in."""
    for name in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        if name in weights:
            return weights[name]
    return 0.0


def _weights(headers: Sequence[str]) -> dict[str, float]:
    """Return the weight of each member of a list, by its name in lower case.

    Parameters other than the weight do not tell members apart. One whose weight is malformed is
    ignored; of one that is given twice, the first counts.
    """
    weights: dict[str, float] = {}
    for member in _MEMBER.findall(",".join(headers)):
        name, separator, parameters = member.partition(";")
        found = _WEIGHT.search(separator + parameters)
        if found is None:
            weights.setdefault(name.strip(" \t").lower(), 1.0)
        elif _NUMBER.fullmatch(found[1]):
            weights.setdefault(name.strip(" \t").lower(), float(found[1]))
    return weights


def content_coding(headers: Sequence[str]) -> str | None:
    """Return the content coding of an answer (RFC 9110, 12.5.3): zstd, gzip, or None for neither.

    The one with the greatest weight; of equal ones zstd goes before gzip, and gzip before none.
    Neither is given to who does not accept it by its name, or gzip by `*`.

    Args:
        headers: the values of all `Accept-Encoding` headers; without one there is no coding.
    """
    weights = _weights(headers)
    others = weights.get("*", 0.0)
    gzip = weights.get("gzip", weights.get("x-gzip", others))
    best = max(("zstd", weights.get("zstd", 0.0)), ("gzip", gzip), key=lambda each: each[1])
    return best[0] if best[1] > 0 and best[1] >= weights.get("identity", 0.0) else None

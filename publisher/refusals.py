"""The reason and the `Retry-After` of a response that is no 200."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import msgspec

_QUOTED_CHARACTERS = 200


class _FieldError(msgspec.Struct):
    index: int | None = None
    field: str | None = None
    message: str = ""


class _Problem(msgspec.Struct):
    title: str = ""
    detail: str = ""
    errors: list[_FieldError] = []


def reason_of(
    response: aiohttp.ClientResponse,
    answer: bytes,
    *,
    hide: Callable[[str], str] = str,
    names_event: bool = True,
) -> str:
    """Return the reason of a refusal in one sentence.

    Args:
        response: the response.
        answer: its body.
        hide: takes out of a text what nobody is to see, should the server repeat it.
        names_event: say which event of a batch it is about; False for a response to a read.

    Returns:
        The detail of problem+json, the plain text, or the phrase of the status.
    """
    phrase = hide(response.reason or "no reason given")
    location = response.headers.get("Location")
    if location and 300 <= response.status < 400:
        return one_line(hide(f"{phrase}, moved to {location}"))
    try:
        problem = msgspec.json.decode(answer, type=_Problem)
    except (ValueError, RecursionError):
        # Not the aggregator's own: the phrase says more to people than a proxy's page of HTML.
        text = answer.decode(errors="replace") if response.content_type == "text/plain" else ""
        return one_line(hide(text)) or phrase
    reason = one_line(hide(problem.detail or problem.title)) or phrase
    if problem.errors and names_event:
        first = problem.errors[0]
        named = "" if first.index is None else f"event {first.index} of the batch, "
        field = f"{first.field}: " if first.field else ""
        reason += one_line(hide(f" ({named}{field}{first.message})"), start=" ")
    return reason


def one_line(text: str, start: str = "", max_characters: int = _QUOTED_CHARACTERS) -> str:
    """Return a foreign text as one line, cut to a length.

    Args:
        text: any text.
        start: a prefix, added unless the line is empty.
        max_characters: greatest length of the line without its prefix.
    """
    words = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
    cut = words if len(words) <= max_characters else f"{words[:max_characters]}…"
    return start + cut if cut else ""


def retry_after_s(response: aiohttp.ClientResponse) -> float:
    """Return the wait that `Retry-After` asks for (a number or a date) in seconds, else 0."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0  # absent, or not a form that RFC 9110 knows: the backoff alone decides
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())

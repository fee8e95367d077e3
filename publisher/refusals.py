"""What an answer that is no 200 says: the reason, and when to come again."""

import re
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


def reason_of(response: aiohttp.ClientResponse, answer: bytes) -> str:
    """Give the reason of a refusal in one sentence: problem+json, plain text, or the phrase."""
    phrase = response.reason or "no reason given"
    location = response.headers.get("Location")
    if location and 300 <= response.status < 400:
        return one_line(f"{phrase}, moved to {location}")
    try:
        problem = msgspec.json.decode(answer, type=_Problem)
    except (ValueError, RecursionError):
        # Not the aggregator's own: a proxy's page of HTML tells people less than the phrase.
        text = answer.decode(errors="replace") if response.content_type == "text/plain" else ""
        return one_line(text) or phrase
    reason = one_line(problem.detail or problem.title) or phrase
    if problem.errors:
        first = problem.errors[0]
        named = "" if first.index is None else f"event {first.index} of the batch, "
        field = f"{first.field}: " if first.field else ""
        reason += one_line(f" ({named}{field}{first.message})", start=" ")
    return reason


def one_line(text: str, start: str = "", most: int = _QUOTED_CHARACTERS) -> str:
    """Give a foreign text as one line of at most `most` characters, behind `start` if not empty."""
    words = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
    cut = words if len(words) <= most else f"{words[:most]}…"
    return start + cut if cut else ""


def retry_after_s(response: aiohttp.ClientResponse) -> float:
    """Give the seconds that `Retry-After` asks for (a number or a date), 0 if it does not."""
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

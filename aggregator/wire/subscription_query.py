"""The query strings of reads about subscriptions, and the links to their next pages."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from aggregator.wire.event_rules import topic_rule_broken
from aggregator.wire.query_parameters import ParameterCheck, read_parameters
from storage.model import INT64_MAX

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

_decode_cursor = msgspec.json.Decoder(tuple[str, int]).decode


class ListRequest(NamedTuple):
    """A page of subscriptions.

    Args:
        after: only names behind this one; "": from the first.
        limit: subscriptions at most.
    """

    after: str
    limit: int

    def next_target(self, last: str) -> str:
        """Return the query string, with its `?`, of the page behind a name."""
        return f"?{urlencode({'after': last, 'limit': self.limit})}"


class DeadLettersRequest(NamedTuple):
    """A page of dead letters.

    Args:
        after: only those behind this topic and offset.
        limit: dead letters at most.
    """

    after: tuple[str, int]
    limit: int

    def next_target(self, last: tuple[str, int]) -> str:
        """Return the query string, with its `?`, of the page behind a topic and offset."""
        cursor = urlsafe_b64encode(msgspec.json.encode(last)).decode().rstrip("=")
        return f"?{urlencode({'limit': self.limit, 'cursor': cursor})}"


def parse_list_query(query_string: str) -> ListRequest:
    """Parse the query string of a list of subscriptions.

    Raises:
        InvalidRequest: an unknown, repeated or empty parameter, or one that breaks its rule.
    """
    check = ParameterCheck(read_parameters(query_string, ("after", "limit")))
    after, limit = check.topic("after"), check.number("limit", 1, MAX_LIMIT)
    check.finish()
    return ListRequest(after or "", limit or DEFAULT_LIMIT)


def parse_status_query(query_string: str) -> str:
    """Parse the query string of a subscription.

    Returns:
        The name behind which the page of its topics begins, "" for the first page.

    Raises:
        InvalidRequest: an unknown, repeated or empty parameter, or one that breaks its rule.
    """
    check = ParameterCheck(read_parameters(query_string, ("topics_after",)))
    after = check.topic("topics_after")
    check.finish()
    return after or ""


def parse_dead_letters_query(query_string: str) -> DeadLettersRequest:
    """Parse the query string of dead letters.

    Raises:
        InvalidRequest: an unknown, repeated or empty parameter, or one that breaks its rule.
    """
    sent = read_parameters(query_string, ("limit", "cursor"))
    check = ParameterCheck(sent)
    limit = check.number("limit", 1, MAX_LIMIT)
    after = ("", 0)
    if "cursor" in sent:
        cursor = _cursor(sent["cursor"])
        if cursor is None:
            check.add_error("cursor", "is not one that a Link header gave")
        after = cursor or after
    check.finish()
    return DeadLettersRequest(after, limit or DEFAULT_LIMIT)


def _cursor(text: str) -> tuple[str, int] | None:
    try:
        topic, offset = _decode_cursor(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    return None if topic_rule_broken(topic) or not 0 <= offset <= INT64_MAX else (topic, offset)

"""The query string of `GET /stats`, and the `Link` to the next page of its topics."""

from urllib.parse import urlencode

import msgspec

from aggregator.wire.query_parameters import ParameterCheck, read_parameters
from storage.model import Stats

_PARAMETERS = ("topic", "topics_after")


class StatsRequest(msgspec.Struct, frozen=True):
    """The topics to list.

    Args:
        topic: the single topic to list, or None.
        topics_after: the name behind which the page begins, "" for the first page.
    """

    topic: str | None
    topics_after: str


def parse_stats_query(query_string: str) -> StatsRequest:
    """Parse the query string of `GET /stats`.

    Args:
        query_string: the raw query string.

    Returns:
        The topics to list.

    Raises:
        InvalidRequest: an unknown, repeated or empty parameter, or no name of a topic.
    """
    sent = read_parameters(query_string, _PARAMETERS)
    check = ParameterCheck(sent)
    topic, after = check.topic("topic"), check.topic("topics_after")
    if len(sent) > 1:
        check.add_error("topics_after", "makes no sense with topic, which asks for one topic")
    check.finish()
    return StatsRequest(topic, after or "")


def next_topics(stats: Stats) -> str:
    """Return the query string, with its `?`, of the page behind the last topic of this one."""
    return f"?{urlencode({'topics_after': max(stats.topics)})}"

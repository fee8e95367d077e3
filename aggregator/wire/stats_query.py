"""The query string of `GET /stats`, and the `Link` to the next page of its topics."""

from urllib.parse import urlencode

import msgspec

from aggregator.wire.query_parameters import ParameterCheck, read_parameters
from storage.model import Stats

_PARAMETERS = ("topic", "topics_after")


class StatsRequest(msgspec.Struct, frozen=True):
    """Which topics are to be listed: one, or those behind a name, "" for the first ones."""

    topic: str | None
    topics_after: str


def parse_stats_query(query_string: str) -> StatsRequest:
    """The topics that a raw query string asks for.

    Raises:
        InvalidRequest: an unknown, repeated or empty parameter, or no name of a topic.
    """
    sent = read_parameters(query_string, _PARAMETERS)
    check = ParameterCheck(sent)
    topic, after = check.topic("topic"), check.topic("topics_after")
    if len(sent) > 1:
        check.wrong("topics_after", "makes no sense with topic, which asks for one topic")
    check.finish()
    return StatsRequest(topic, after or "")


def next_topics(stats: Stats) -> str:
    """The page behind the last topic of this one, relative to it: a query alone."""
    return f"?{urlencode({'topics_after': max(stats.topics)})}"

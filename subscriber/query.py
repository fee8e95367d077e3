"""The request for a stream: its topics and where it begins, as a query."""

from datetime import datetime
from typing import Literal, NamedTuple

from yarl import URL

from publisher.urls import check_base_url

Start = Literal["start", "now"]
_MAX_TOPICS = 100
_MAX_LAST = 5000


class Query(NamedTuple):
    """A request for a stream.

    Args:
        url: the URL of `/events`, with the topics and the filter.
        begin: where the first stream begins, as a parameter, or None for what the aggregator takes.
        only_topic: the topic, where the request is for a single name; else None. Then a position is
            the offset in it.
    """

    url: URL
    begin: tuple[str, str] | None
    only_topic: str | None

    def first_url(self) -> URL:
        """Return the URL of a request without a position."""
        return self.url if self.begin is None else self.url.update_query([self.begin])


def query_of(
    url: str,
    topics: tuple[str, ...],
    *,
    after: int | None,
    start: Start | None,
    last: int | None,
    since: datetime | str | None,
    source: str | None,
) -> Query:
    """Make the request; the arguments are those of `subscriber.follow`.

    Raises:
        ValueError: one is out of its range, or they do not go together; one sentence.
    """
    check_base_url(url)
    if not 1 <= len(topics) <= _MAX_TOPICS or not all(topics):
        raise ValueError(f"1 to {_MAX_TOPICS} topics are needed, each with a name, not {topics!r}")
    only_topic = topics[0] if len(topics) == 1 and "*" not in topics[0] else None
    given = {
        name: value
        for name, value in (("after", after), ("from", start), ("last", last), ("since", since))
        if value is not None
    }
    if len(given) > 1:
        names = " and ".join({"from": "start"}.get(name, name) for name in given)
        raise ValueError(f"a stream begins at one place, so {names} do not go together")
    if after is not None and (after < 0 or only_topic is None):
        raise ValueError(
            "after needs a single topic without * and an offset from 0, "
            f"not {after!r} of {' '.join(topics)}"
        )
    if start not in {None, "start", "now"}:
        raise ValueError(f"start must be 'start' or 'now', not {start!r}")
    if last is not None and not 1 <= last <= _MAX_LAST:
        raise ValueError(f"last must be from 1 to {_MAX_LAST:,}, not {last!r}")
    parameters = [("topic", topic) for topic in topics]
    if source is not None:
        parameters.append(("source", source))
    events = URL(f"{url.rstrip('/')}/events").with_query(parameters)
    begin = next(((name, _text(value)) for name, value in given.items()), None)
    return Query(events, begin, only_topic)


def _text(value: int | str | datetime) -> str:
    if not isinstance(value, datetime):
        return str(value)
    if value.utcoffset() is None:
        # Sent unchanged it would be read as UTC, and it is most likely a local time.
        raise ValueError(f"the time {value} has no time zone; use datetime.now(UTC)")
    return value.isoformat()

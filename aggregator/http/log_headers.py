"""The headers that say where the log of a topic stands."""

from aggregator.wire.event_query import LOG_START


def log_headers(head: int) -> dict[str, str]:
    """Return the headers of an answer about one topic.

    Args:
        head: its head offset.
    """
    return {"Log-Head": str(head), "Log-Start": str(LOG_START)}

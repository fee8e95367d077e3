"""The `User-Agent` of clients, for the logs of servers."""

from importlib.metadata import PackageNotFoundError, version

_NAME = "pubsub-log-aggregator"


def _version() -> str:
    try:
        return version(_NAME)
    except PackageNotFoundError:
        return "unknown"  # run from its files, without having been installed


VERSION = _version()
"""Of the distribution; "unknown" where it is not installed."""


def user_agent(client: str) -> str:
    """Return the header's value for a kind of client, such as `publisher`."""
    return f"{_NAME}-{client}/{VERSION}"


USER_AGENT = user_agent("publisher")

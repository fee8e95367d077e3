"""The `User-Agent` of a publisher, for the logs of servers."""

from importlib.metadata import PackageNotFoundError, version

_NAME = "pubsub-log-aggregator"


def _version() -> str:
    try:
        return version(_NAME)
    except PackageNotFoundError:
        return "unknown"  # run from its files, without having been installed


VERSION = _version()
"""Of the distribution; "unknown" where it is not installed."""

USER_AGENT = f"{_NAME}-publisher/{VERSION}"

"""Guarded calls of observers (metrics, log, spans): none may change what it observes."""

import sys
from collections.abc import Callable
from typing import TypeVar

import structlog

from aggregator.logging.rate_limit import LogRateLimit

Returned = TypeVar("Returned")

_failures = LogRateLimit("observer_failed", 1, level="error")
_log = structlog.get_logger()


def notify(observer: Callable[..., Returned], *arguments: object) -> Returned | None:
    """Call an observer; whatever it raises is logged and goes no further.

    Args:
        observer: any callable.
        arguments: for it.

    Returns:
        What the observer returned; None if it failed.
    """
    try:
        return observer(*arguments)
    except Exception as error:  # noqa: BLE001 - what happened has happened, whoever fails to note it
        log_failure(observer, error)
        return None


def log_failure(observer: Callable[..., object], error: Exception) -> None:
    """Log that an observer raised an error, with its traceback, at most once a second."""
    more = _failures.fields()
    if more is None:
        return
    name = getattr(observer, "__qualname__", repr(observer))
    try:
        _log.error("observer_failed", observer=name, exc_info=error, **more)
    except Exception as log_error:  # noqa: BLE001 - then it is the log that fails
        told = f"{name} failed ({error!r}), and so did the log: {log_error!r}"
        print(f"aggregator: {told}", file=sys.stderr)  # noqa: T201

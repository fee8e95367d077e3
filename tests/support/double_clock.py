"""The clock by which both backends lease, ahead of that of the machine: a test moves it on."""

import time
from types import SimpleNamespace

import pytest

from storage.postgres import subscription_loading as postgres_loading
from storage.postgres import subscription_views as postgres_views
from storage.sqlite import subscription_loading as sqlite_loading
from storage.sqlite import subscription_views as sqlite_views

_POSTGRES_CLOCK = "clock_timestamp()"


class LeaseClock:
    """Moves on what leases run out by, of stores that write in the test's process.

    Args:
        patch: takes it back at the end.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._ahead_ms = 0
        self._loading = postgres_loading._SUBSCRIPTIONS
        self._view = postgres_views._ONE

    def let_pass(self, ms: int) -> None:
        """Move it on by so many milliseconds."""
        self._ahead_ms += ms
        ahead_ns = self._ahead_ms * 1_000_000
        shifted = SimpleNamespace(time_ns=lambda: time.time_ns() + ahead_ns)
        for module in (sqlite_loading, sqlite_views):
            self._patch.setattr(module, "time", shifted)
        ahead = f"({_POSTGRES_CLOCK} + interval '{self._ahead_ms} milliseconds')"
        for module, name, sql in (
            (postgres_loading, "_SUBSCRIPTIONS", self._loading),
            (postgres_views, "_ONE", self._view),
        ):
            assert _POSTGRES_CLOCK in sql
            self._patch.setattr(module, name, sql.replace(_POSTGRES_CLOCK, ahead))

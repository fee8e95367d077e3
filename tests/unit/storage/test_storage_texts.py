"""What the process that writes SQLite says is a line of the log, and not thousands."""

import structlog

from aggregator.app import configured_store
from aggregator.settings.model import Settings
from storage.sqlite.store import SqliteStore


def test_what_the_process_says_is_logged_at_most_ten_times_a_second() -> None:
    changes = {"sqlite_busy_timeout_ms": 2000, "sqlite_command_timeout_ms": 1000}
    store = configured_store(Settings.from_values(changes))
    assert isinstance(store, SqliteStore)
    assert store._limit_s == 3.0
    with structlog.testing.capture_logs() as logged:
        for _ in range(1000):
            store.on_process_output("Traceback (most recent call last):\n  and so on")
    assert logged[0] == {
        "event": "storage_process_error",
        "log_level": "error",
        "text": "Traceback (most recent call last):\n  and so on",
    }
    # A second may have begun meanwhile, or two.
    assert 10 <= len(logged) <= 30
    assert all("suppressed" in line for line in logged[10:11])

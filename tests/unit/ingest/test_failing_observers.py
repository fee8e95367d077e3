"""Whatever observes a transaction may fail; what became of the transaction is told all the same."""

from collections.abc import Sequence

import pytest
import structlog.testing
from support.events import event
from support.in_process import InProcessStore
from support.stores import ControlledStore

from aggregator.ingest.flush import Flush
from aggregator.ingest.group_commit import GroupCommit
from aggregator.ingest.telemetry import FlushSpan
from aggregator.logging import observer_guard
from aggregator.logging.rate_limit import LogRateLimit
from storage.errors import BatchRefused, OutcomeUnknown
from storage.model import Appended, Event, Status

SECRET = "hush-4711"
PLACES = ["flush", "names", "transaction", "end of transaction", "end of flush", "on_flush"]


class FailingSpans:
    """Spans that raise in one place."""

    def __init__(self, place: str) -> None:
        self.place = place

    def fail_in(self, place: str) -> None:
        if place == self.place:
            raise RuntimeError(SECRET)

    def flush(self, *_: object) -> FlushSpan:
        self.fail_in("flush")
        return _Flush(self)

    def on_flush(self, _flush: Flush) -> None:
        self.fail_in("on_flush")


class _Flush:
    def __init__(self, spans: FailingSpans) -> None:
        self._spans = spans

    @property
    def log_fields(self) -> dict[str, str]:
        self._spans.fail_in("names")
        return {"span_id": "s"}

    def transaction(self, **_: int) -> "_Transaction":
        self._spans.fail_in("transaction")
        return _Transaction(self._spans)

    def end(self) -> None:
        self._spans.fail_in("end of flush")


class _Transaction:
    def __init__(self, spans: FailingSpans) -> None:
        self._spans = spans

    def end(self, _error: object) -> None:
        self._spans.fail_in("end of transaction")


@pytest.fixture(autouse=True)
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """No failure of another test counts against the rate of this one's."""
    monkeypatch.setattr(observer_guard, "_log", structlog.get_logger())
    monkeypatch.setattr(
        observer_guard, "_failures", LogRateLimit("observer_failed", 1000, level="error")
    )


@pytest.mark.parametrize("place", PLACES)
async def test_a_failing_observer_changes_no_outcome_and_is_logged(
    controlled: ControlledStore, place: str
) -> None:
    spans = FailingSpans(place)
    group_commit = GroupCommit(
        controlled, max_flush_events=1000, max_flush_bytes=10**6,
        on_flush=spans.on_flush, start_span=spans.flush,
    )  # fmt: skip
    group_commit.start()
    with structlog.testing.capture_logs() as logged:
        for offset in (1, 2):
            verdicts = await group_commit.submit([event("t", f"e-{offset}")], 1)
            assert [(v.status, v.offset) for v in verdicts] == [(Status.STORED, offset)]
        controlled.refused = {"bad"}
        with pytest.raises(BatchRefused):
            await group_commit.submit([event("t", "bad")], 1)
        await group_commit.drain(30)
    failures = [line for line in logged if line["event"] == "observer_failed"]
    assert len(failures) == 3
    assert all(isinstance(line["exc_info"], RuntimeError) for line in failures)


async def test_a_commit_that_nobody_can_be_told_of_is_a_commit(controlled: ControlledStore) -> None:
    store = controlled

    async def stored_and_failed(batch: Sequence[Event]) -> Appended:
        await InProcessStore.append(store._inner, batch)  # type: ignore[arg-type]
        raise RuntimeError(SECRET)

    flushes: list[Flush] = []
    group_commit = GroupCommit(
        store, max_flush_events=1000, max_flush_bytes=10**6, on_flush=flushes.append
    )
    group_commit.start()
    store.append = stored_and_failed  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown) as raised:
        await group_commit.submit([event("t", "a")], 1)
    assert SECRET not in str(raised.value)
    # Who keeps the log is told it all.
    assert SECRET in str(flushes[0].error)
    del store.append
    (again,) = await group_commit.submit([event("t", "a")], 1)
    assert (again.status, again.offset) == (Status.DUPLICATE, 1)
    await group_commit.drain(30)


def test_where_the_log_fails_as_well_it_is_said_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing:
        def error(self, *_: object, **__: object) -> None:
            raise OSError("no log")

    def observer() -> None:
        raise RuntimeError("no metrics")

    monkeypatch.setattr(observer_guard, "_log", Failing())
    observer_guard.notify(observer)
    told = capsys.readouterr().err
    assert "no log" in told
    assert "no metrics" in told


def test_failures_are_logged_at_a_bounded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    def observer() -> None:
        raise RuntimeError("no metrics")

    monkeypatch.setattr(
        observer_guard, "_failures", LogRateLimit("observer_failed", 2, level="error")
    )
    with structlog.testing.capture_logs() as logged:
        for _ in range(10):
            observer_guard.notify(observer)
    assert len(logged) == 2

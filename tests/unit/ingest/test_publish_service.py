"""The publish use case: its steps in their order, its room, and one response for each publish."""

import asyncio
import json
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from support.events import published
from support.stores import ControlledStore

from aggregator.access.gate import EVERYBODY
from aggregator.access.limits import Usage
from aggregator.ingest.admission import Admission, QueueFull
from aggregator.ingest.group_commit import GroupCommit, ShuttingDown
from aggregator.ingest.known_topics import KnownTopics
from aggregator.ingest.publish_service import PublishResponse, PublishService
from aggregator.ingest.store_monitor import StoreMonitor
from aggregator.request_context import RequestContext
from aggregator.wire.errors import InvalidRequest, MalformedBody, TooLarge, UnsupportedMediaType
from aggregator.wire.event_rules import Limits
from aggregator.wire.publish_body import Batch
from storage.errors import StorageUnavailable
from storage.model import Verdict

MAX_EVENTS, MAX_BYTES = 5, 200_000
CONTEXT = RequestContext("r-1", "POST", "/publish", "/publish", "192.0.2.7", "test", 0.0, None)
ONE = json.dumps(published()).encode()
LARGE = json.dumps([published(payload={"text": "x" * 40_000}) for _ in range(2)]).encode()


@dataclass
class Setting:
    """A publish service over a real store, and what it did."""

    service: PublishService
    admission: Admission
    store: ControlledStore
    group_commit: GroupCommit
    conflicts: list[tuple[Sequence[Verdict], RequestContext]] = field(default_factory=list)

    @property
    def room(self) -> tuple[int, int]:
        return self.admission.events, self.admission.bytes


@pytest.fixture
async def setting(
    controlled: ControlledStore, make_group_commit: Callable[..., GroupCommit]
) -> AsyncIterator[Setting]:
    monitor = StoreMonitor(controlled, lambda _: None)
    monitor.reason = None
    admission = Admission(max_events=MAX_EVENTS, max_bytes=2 * MAX_BYTES)
    conflicts: list[tuple[Sequence[Verdict], RequestContext]] = []
    group_commit = make_group_commit()
    service = PublishService(
        monitor=monitor,
        admission=admission,
        group_commit=group_commit,
        limits=Limits(max_payload_bytes=50_000),
        usage=Usage(),
        known_topics=KnownTopics(controlled),
        on_conflicts=lambda verdicts, context: conflicts.append((verdicts, context)),
    )
    yield Setting(service, admission, controlled, group_commit, conflicts)
    service.close()


def headers(**fields: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict({k.replace("_", "-"): v for k, v in fields.items()}))


async def publish(setting: Setting, body: bytes, **fields: str) -> PublishResponse:
    with setting.service.begin(headers(**fields), EVERYBODY) as publish:
        return await publish.response(body, CONTEXT)


async def submitted(
    setting: Setting, body: bytes, **fields: str
) -> list[PublishResponse | Exception]:
    """All that a callback is given, waiting a little longer than for the first."""
    outcomes: list[PublishResponse | Exception] = []
    came = asyncio.Event()

    def respond(outcome: PublishResponse | Exception) -> None:
        outcomes.append(outcome)
        came.set()

    setting.service.begin(headers(**fields), EVERYBODY).submit(body, CONTEXT, respond)
    async with asyncio.timeout(30):
        await came.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    return outcomes


async def test_response_has_counts_and_results(setting: Setting) -> None:
    summary, body, more = await publish(setting, ONE)
    assert (summary.received, summary.unique_processed) == (1, 1)
    assert json.loads(body)["results"][0]["status"] == "stored"
    assert more == {}
    assert setting.room == (0, 0)


async def test_preferences_are_applied_and_confirmed(setting: Setting) -> None:
    body = b'{"topic": "no topic"}\n' + ONE
    summary, answer, more = await publish(
        setting, body, Content_Type="application/x-ndjson", Prefer="handling=lenient"
    )
    assert summary.received == 1
    assert [each["status"] for each in json.loads(answer)["results"]] == ["rejected", "stored"]
    assert more == {"Preference-Applied": "handling=lenient"}


@pytest.mark.parametrize("body", [ONE, LARGE], ids=["at once", "off the event loop"])
async def test_room_is_held_while_the_store_works_and_released_once(
    setting: Setting, body: bytes
) -> None:
    events = 1 if body is ONE else 2
    setting.store.hold()
    waiting = asyncio.create_task(publish(setting, body))
    await setting.store.begun()
    assert setting.room == (events, len(body))
    setting.store.release()
    assert (await waiting).summary.unique_processed == events
    assert setting.room == (0, 0)


async def test_pieces_reserved_before_count_as_part_of_the_body(setting: Setting) -> None:
    setting.store.hold()
    with setting.service.begin(headers(), EVERYBODY) as publish:
        for _ in range(2):
            publish.reserve_bytes(len(ONE) // 2)
        storing = publish.response(ONE, CONTEXT)
        await setting.store.begun()
        assert setting.room == (1, len(ONE))
        setting.store.release()
        await storing


ERRORS: dict[str, tuple[bytes, type[Exception]]] = {
    "no JSON": (b"{", MalformedBody),
    "no JSON, large": (b"{" + b" " * 70_000, MalformedBody),
    "a broken rule": (json.dumps(published(topic="no topic")).encode(), InvalidRequest),
    "too large a payload": (json.dumps(published(payload="x" * 60_000)).encode(), TooLarge),
    "too many events": (json.dumps([published() for _ in range(6)]).encode(), QueueFull),
    "too many bytes": (ONE + b" " * (2 * MAX_BYTES), QueueFull),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_error_on_the_way_is_the_only_outcome_and_releases_the_room(
    setting: Setting, name: str
) -> None:
    body, kind = ERRORS[name]
    (outcome,) = await submitted(setting, body)
    assert type(outcome) is kind
    assert setting.room == (0, 0)
    assert setting.store.batches == []


async def test_error_of_the_store_is_the_only_outcome_and_releases_the_room(
    setting: Setting,
) -> None:
    setting.store.broken = StorageUnavailable("gone")
    (outcome,) = await submitted(setting, ONE)
    assert isinstance(outcome, StorageUnavailable)
    assert setting.room == (0, 0)


async def test_error_of_the_response_is_the_only_outcome(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aggregator.ingest.publish_service.summarize", lambda _: 1 / 0)
    (outcome,) = await submitted(setting, ONE)
    assert isinstance(outcome, ZeroDivisionError)
    assert setting.room == (0, 0)


@pytest.mark.parametrize("body", [ONE, LARGE], ids=["at once", "off the event loop"])
async def test_publish_is_stored_although_its_caller_gave_up(setting: Setting, body: bytes) -> None:
    setting.store.hold()
    waiting = asyncio.create_task(publish(setting, body))
    await setting.store.begun()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert setting.room == (0, 0), "nobody waits for it"
    setting.store.release()
    (again,) = await submitted(setting, body)
    assert isinstance(again, PublishResponse)
    assert again.summary.unique_processed == 0
    assert setting.room == (0, 0)


async def test_lenient_publish_without_a_valid_event_stores_nothing(setting: Setting) -> None:
    body = json.dumps([published(topic="")]).encode()
    (outcome,) = await submitted(setting, body, Prefer="handling=lenient")
    assert isinstance(outcome, PublishResponse)
    assert outcome.summary.received == 0
    assert setting.store.batches == []
    assert setting.room == (0, 0)


async def test_conflicts_are_observed_with_their_context(setting: Setting) -> None:
    await publish(setting, json.dumps([published(event_id="same")]).encode())
    assert setting.conflicts == []
    await publish(setting, json.dumps([published(event_id="same", payload={"total": 1})]).encode())
    ((verdicts, context),) = setting.conflicts
    assert [verdict.event_id for verdict in verdicts] == ["same"]
    assert context is CONTEXT


async def test_head_of_another_form_is_refused(setting: Setting) -> None:
    with pytest.raises(UnsupportedMediaType):
        setting.service.begin(headers(Content_Type="text/plain"), EVERYBODY)


async def test_head_is_refused_while_draining_before_all_else(setting: Setting) -> None:
    setting.service.stop_accepting()
    with pytest.raises(ShuttingDown):
        setting.service.begin(headers(Content_Type="text/plain"), EVERYBODY)


async def test_head_is_refused_while_there_is_no_room(setting: Setting) -> None:
    with setting.admission.reservation() as reservation:
        reservation.reserve(events=MAX_EVENTS)
        with pytest.raises(QueueFull):
            setting.service.begin(headers(), EVERYBODY)
    setting.service.check_accepting()
    assert setting.room == (0, 0)


async def test_publish_that_came_before_the_drain_ends_with_its_own_error(setting: Setting) -> None:
    with setting.service.begin(headers(), EVERYBODY) as publish:
        await setting.group_commit.drain(1)
        with pytest.raises(ShuttingDown):
            await publish.response(ONE, CONTEXT)
    assert setting.room == (0, 0)


async def test_group_commit_gets_the_size_and_the_trace_of_a_publish(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted_with: list[tuple[object, ...]] = []
    submit = setting.group_commit.submit

    def note(*arguments: Any) -> "asyncio.Future[list[Verdict]]":
        submitted_with.append(arguments[1:])
        return submit(*arguments)

    monkeypatch.setattr(setting.group_commit, "submit", note)
    trace = object()
    context = msgspec.structs.replace(CONTEXT, trace=trace)
    with setting.service.begin(headers(), EVERYBODY) as publish:
        await publish.response(ONE, context)
    assert submitted_with == [(len(ONE), trace)]


async def test_form_that_no_publish_had_before_is_read(setting: Setting) -> None:
    unique = uuid.uuid4().hex
    summary, body, more = await publish(
        setting,
        b"{\n" + json.dumps(published()).encode(),
        Content_Type=f"application/x-ndjson; x={unique}",
        Content_Encoding="identity",
        Prefer=f"x-{unique}, return=minimal, handling=lenient",
    )
    assert summary.unique_processed == 1
    assert [each["status"] for each in json.loads(body)["results"]] == ["rejected"]
    assert more == {"Preference-Applied": "return=minimal, handling=lenient"}


async def test_bodies_that_wait_to_be_parsed_at_the_end_are_given_up(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsing, going_on = threading.Semaphore(0), threading.Event()

    def parse(*_: object, **__: object) -> Batch:
        parsing.release()
        going_on.wait(30)
        return Batch([], {})

    monkeypatch.setattr("aggregator.ingest.publish_service.parse_publish", parse)
    waiting = [asyncio.create_task(publish(setting, LARGE)) for _ in range(3)]
    for _ in range(2):
        await asyncio.to_thread(parsing.acquire, timeout=30)
    try:
        setting.service.close()
        with pytest.raises(ShuttingDown, match=r"^the aggregator is shutting down$"):
            await waiting[2]
        assert not any(task.done() for task in waiting[:2]), "nobody waited for them"
    finally:
        going_on.set()
    assert [(await task).summary.received for task in waiting[:2]] == [0, 0]
    assert setting.room == (0, 0)

"""The topics that are known to be there: looked up once, bounded in number, given up at the end."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from support.events import event, published
from support.stores import ControlledStore

from aggregator.access.authority import Identity
from aggregator.access.entries import Entry, EntryLimits
from aggregator.access.limits import Usage
from aggregator.ingest.admission import Admission
from aggregator.ingest.group_commit import GroupCommit, ShuttingDown
from aggregator.ingest.known_topics import KnownTopics
from aggregator.ingest.publish_service import PublishService
from aggregator.ingest.store_monitor import StoreMonitor
from aggregator.request_context import RequestContext
from aggregator.wire.event_rules import Limits
from storage.errors import StorageUnavailable

CONTEXT = RequestContext("r-1", "POST", "/publish", "/publish", "192.0.2.7", "test", 0.0, None)
SHOP = Entry(name="shop", publish=("**",), limits=EntryLimits(new_topics_per_day=5))
SENDER = Identity(entry=SHOP, name="shop", generation=0)
BODY = json.dumps(published(topic="orders")).encode()


@pytest.fixture
def asked(controlled: ControlledStore, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The topics whose heads the store was asked for."""
    asked: list[list[str]] = []
    heads = controlled.heads

    async def counted(topics: Sequence[str]) -> Mapping[str, int]:
        asked.append(list(topics))
        return await heads(topics)

    monkeypatch.setattr(controlled, "heads", counted)
    return asked


@pytest.fixture
def service(
    controlled: ControlledStore, make_group_commit: Callable[..., GroupCommit]
) -> PublishService:
    monitor = StoreMonitor(controlled, lambda _: None)
    monitor.reason = None
    return PublishService(
        monitor=monitor,
        admission=Admission(max_events=5, max_bytes=10_000),
        group_commit=make_group_commit(),
        limits=Limits(),
        usage=Usage(),
        known_topics=KnownTopics(controlled),
        on_conflicts=lambda _verdicts, _context: None,
    )


async def publish(service: PublishService, sender: Identity = SENDER) -> None:
    with service.begin(CIMultiDictProxy(CIMultiDict()), sender) as begun:
        await begun.response(BODY, CONTEXT)


async def test_topics_that_are_there_are_remembered_up_to_a_bound(
    controlled: ControlledStore, asked: list[list[str]]
) -> None:
    await controlled.append([event(name, "e-1") for name in "abc"])
    known = KnownTopics(controlled, max_known=2)
    assert known.unknown("abab") == ["a", "b"]
    assert await known.look_up(["a", "x"]) == ["x"]
    assert known.unknown("ax") == ["x"]
    await known.look_up(["b", "c"])
    assert known.unknown("abcx") == ["a", "x"]
    assert asked == [["a", "x"], ["b", "c"]]


async def test_a_topic_is_looked_up_once_and_only_for_who_has_the_limit(
    service: PublishService, asked: list[list[str]]
) -> None:
    await publish(service, Identity(entry=Entry(name="any", admin=True), name="any", generation=0))
    assert asked == []
    for _ in range(3):
        await publish(service)
    assert asked == [["orders"]]


async def test_a_look_up_that_fails_is_the_error_of_the_publish_and_nothing_is_stored(
    service: PublishService, controlled: ControlledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_topics: Sequence[str]) -> Mapping[str, int]:
        raise StorageUnavailable("gone")

    monkeypatch.setattr(controlled, "heads", fails)
    with pytest.raises(StorageUnavailable):
        await publish(service)
    assert (service.admission.events, service.admission.bytes) == (0, 0)
    assert controlled.batches == []


async def test_a_look_up_at_the_end_is_given_up(
    service: PublishService, controlled: ControlledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def hangs(_topics: Sequence[str]) -> Mapping[str, int]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(controlled, "heads", hangs)
    publishing = asyncio.create_task(publish(service))
    await begun.wait()
    service.close()
    with pytest.raises(ShuttingDown):
        await publishing
    assert (service.admission.events, service.admission.bytes) == (0, 0)

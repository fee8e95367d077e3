"""Who is woken by what: by this aggregator's commits, and by those of another one."""

import pytest
from support.backends import Database
from support.events import published
from support.http import MakeClient
from support.talking import publish
from support.tasks import StartSoon
from support.waiting import GatedReads, scrape, wait

from aggregator.app import DRAIN
from aggregator.live.head_poller import HeadPoller


async def test_a_wait_is_answered_by_a_publish_to_another_aggregator(
    make_client: MakeClient, database: Database, start_soon: StartSoon
) -> None:
    store = GatedReads(database.store())
    here, elsewhere = await make_client(store), await make_client()
    await publish(elsewhere, published(topic="a"))
    waiting = {
        topic: start_soon(wait(here, topic=topic, after=after))
        for topic, after in (("a", 1), ("b", 0), ("c", 0))
    }
    await store.asleep(here, 3)
    await publish(elsewhere, published(topic="a", event_id="second"))
    events, headers = await waiting["a"]
    assert [(event["event_id"], event["offset"]) for event in events] == [("second", 2)]
    assert headers["Log-Head"] == "2"
    await publish(elsewhere, [published(topic="c"), published(topic="b")])
    for topic in ("b", "c"):
        (event,), _ = await waiting[topic]
        assert (event["topic"], event["offset"]) == (topic, 1)
    # It is the poll that found them; over there nobody waited, and nothing was polled.
    assert (await scrape(here)).value("aggregator_head_polls_total", outcome="answered") >= 2
    assert not (await scrape(elsewhere)).by("aggregator_head_polls_total", "outcome")


async def test_a_publish_to_the_same_aggregator_is_noticed_without_the_poll(
    make_client: MakeClient,
    database: Database,
    start_soon: StartSoon,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HeadPoller, "start", lambda _poller: None)
    store = GatedReads(database.store())
    client = await make_client(store)
    waiting = [start_soon(wait(client, topic=topic, after=0)) for topic in ("a", "b")]
    await store.asleep(client, 2)
    await publish(client, [published(topic=topic) for topic in ("a", "b", "c")])
    for each in waiting:
        assert len((await each)[0]) == 1
    assert not (await scrape(client)).by("aggregator_head_polls_total", "outcome")


async def test_without_the_poll_a_publish_to_another_aggregator_is_not_noticed(
    make_client: MakeClient,
    database: Database,
    start_soon: StartSoon,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HeadPoller, "start", lambda _poller: None)
    store = GatedReads(database.store())
    here, elsewhere = await make_client(store), await make_client()
    waiting = start_soon(wait(here, topic="a", after=0))
    await store.asleep(here, 1)
    await publish(elsewhere, published(topic="a"))
    assert here.app is not None
    await here.app[DRAIN]()
    assert (await waiting)[0] == []

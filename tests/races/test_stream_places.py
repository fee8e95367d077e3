"""What a stream shows comes from the log by offset, and who follows goes on by its position."""

import asyncio
from typing import Any

import pytest
from support.backends import Database
from support.blocks import follow
from support.events import published
from support.held import held
from support.http import Client, MakeClient
from support.talking import publish
from support.weakened_streams import just_behind, trust_the_flush

from aggregator.live.head_poller import HeadPoller


@pytest.fixture
def no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody notices what other aggregators commit."""
    monkeypatch.setattr(HeadPoller, "start", lambda _poller: None)


async def offsets_up_to_a_flush_here(make_client: MakeClient) -> list[int]:
    """What a stream gives when another aggregator has stored an event ahead of one from here."""
    here, elsewhere = await make_client(), await make_client()
    await publish(here, published())
    async with follow(here, "orders", from_="start") as stream:
        await stream.until("caught-up")
        await publish(elsewhere, published())
        await publish(here, published())
        given = await stream.events(1)
        while given[-1].offset < 3:
            given += await stream.events(1)
    return [1, *(block.offset for block in given)]


@pytest.mark.usefixtures("no_poll")
async def test_a_flush_wakes_and_the_log_has_what_others_stored_before_it(
    make_client: MakeClient,
) -> None:
    assert await offsets_up_to_a_flush_here(make_client) == [1, 2, 3]


@pytest.mark.usefixtures("no_poll")
async def test_a_stream_that_trusts_the_flush_misses_what_others_stored_before_it(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust_the_flush(monkeypatch)
    assert await offsets_up_to_a_flush_here(make_client) == [1, 3]


@pytest.mark.usefixtures("no_poll")
async def test_a_stream_is_caught_up_with_what_was_there_when_it_was_asked_for(
    make_client: MakeClient,
) -> None:
    here, elsewhere = await make_client(), await make_client()
    async with follow(here, "orders") as earlier:
        await earlier.next()
        await publish(elsewhere, published())
        # What reads the topic here for all of its streams has not heard of it.
        async with follow(here, "orders", from_="start") as stream:
            blocks = await stream.until("caught-up")
        assert [block.event for block in blocks] == ["position", "message", "caught-up"]
        assert blocks[-1].data == {"orders": 1}


HOLD_LATE = """
CREATE FUNCTION hold_late() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER hold_late AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.topic = 'late') EXECUTE FUNCTION hold_late();
SELECT pg_advisory_lock(1)"""
"""Whoever stores an event of the topic waits at its COMMIT, with its time taken."""


async def what_is_there(client: Client, **begin: Any) -> list[str]:
    """The ids of the events that a stream gives until it has caught up."""
    async with follow(client, "*", **begin) as stream:
        blocks = await stream.until("caught-up")
    return [block.data["event_id"] for block in blocks if block.event == "message"]


@pytest.mark.parametrize("backend", ["postgres"])
async def test_who_goes_by_position_gets_what_commits_late_and_who_goes_by_time_misses_it(
    make_client: MakeClient, database: Database
) -> None:
    here, elsewhere = await make_client(), await make_client()
    await publish(here, [published(topic=topic) for topic in ("early", "late")])
    async with held(database.dsn) as holder:
        await holder.connection.execute(HOLD_LATE)
        async with follow(here, "*") as stream, asyncio.TaskGroup() as group:
            await stream.next()
            late = published(topic="late", event_id="late")
            group.create_task(publish(elsewhere, late))
            await holder.stopped()
            await publish(here, published(topic="early", event_id="early"))
            (seen,) = await stream.events(1)
            await holder.let_go()
    by_position = {"headers": {"Last-Event-ID": str(seen.id)}}
    assert await what_is_there(here, **by_position) == ["late"]
    assert await what_is_there(here, since=just_behind(seen.data["ts_ingest"])) == []

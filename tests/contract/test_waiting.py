"""Prefer: wait: an answer that is held until something passes the filters."""

import pytest
from support.events import published
from support.http import Client
from support.talking import publish, read_pages
from support.tasks import StartSoon
from support.waiting import LONG, ask, held, wait

from storage.reading import log_reader

BEGINNINGS: list[dict[str, object]] = [
    {"after": 2},
    {"after": 2, "limit": 1},
    {"after": 2, "order": "asc"},
    {"after": 2, "source": "shop"},
    {"after": 2, "since": "1h"},
    {"after": 2, "source": "shop", "since": "2000-01-01", "limit": 5000},
    {"from_": "start", "source": "shop"},
]


async def test_a_wait_is_answered_by_the_event_that_comes(
    client: Client, start_soon: StartSoon
) -> None:
    await publish(client, [published(source="old"), published(source="old")])
    waiting = [start_soon(wait(client, topic="orders", **each)) for each in BEGINNINGS]
    await held(client, len(waiting))
    await publish(client, published(topic="other"))
    event = published()
    await publish(client, event)
    for each in waiting:
        (found,), headers = await each
        assert {name: found[name] for name in event} == event | {
            "timestamp": "2026-01-31T12:00:00.000000Z"
        }
        assert found["offset"] == 3
        assert (headers["Log-Head"], headers["Log-Start"]) == ("3", "1")
        assert headers["Preference-Applied"] == LONG


async def test_a_topic_that_does_not_exist_yet_can_be_waited_for(
    client: Client, start_soon: StartSoon
) -> None:
    waiting = [
        start_soon(wait(client, topic="new", **beginning))
        for beginning in ({"after": 0}, {"from_": "start"})
    ]
    await held(client, 2)
    await publish(client, [published(topic="new") for _ in range(3)])
    for each in waiting:
        events, headers = await each
        assert [event["offset"] for event in events] == [1, 2, 3]
        assert headers["Log-Head"] == "3"


async def test_events_that_are_there_are_given_at_once(client: Client) -> None:
    await publish(client, [published() for _ in range(5)])
    events, headers = await wait(client, topic="orders", after=3)
    assert [event["offset"] for event in events] == [4, 5]
    assert headers["Preference-Applied"] == LONG
    events, headers = await wait(client, topic="orders", after=0, limit=2)
    assert [event["offset"] for event in events] == [1, 2]
    response = await client.get(f"/events{headers['Link'].partition('<')[2].partition('>')[0]}")
    assert [event["offset"] for event in await response.json()] == [3, 4]


async def test_a_wait_with_a_source_is_not_answered_by_other_events(
    client: Client, start_soon: StartSoon
) -> None:
    await publish(client, published(source="common"))
    waiting = start_soon(wait(client, topic="orders", after=0, source="rare"))
    await held(client, 1)
    for _ in range(3):
        await publish(client, published(source="common"))
    event = published(source="rare")
    await publish(client, event)
    events, headers = await waiting
    assert [(each["event_id"], each["offset"]) for each in events] == [(event["event_id"], 5)]
    assert headers["Log-Head"] == "5"


async def test_a_wait_above_the_head_is_answered_by_what_is_behind_its_place(
    client: Client, start_soon: StartSoon
) -> None:
    await publish(client, published())
    waiting = start_soon(wait(client, topic="orders", after=3))
    await held(client, 1)
    await publish(client, [published(), published()])
    await publish(client, published())
    events, _ = await waiting
    assert [event["offset"] for event in events] == [4]


async def test_repeats_do_not_answer_a_wait(client: Client, start_soon: StartSoon) -> None:
    event = published()
    await publish(client, event)
    waiting = start_soon(wait(client, topic="orders", after=1))
    await held(client, 1)
    await publish(client, [event, event | {"payload": {}}])
    await publish(client, [event, published(event_id="new"), event])
    events, _ = await waiting
    assert [each["event_id"] for each in events] == ["new"]


async def test_a_wait_in_which_nothing_comes_is_an_empty_page_with_the_head(
    client: Client,
) -> None:
    await publish(client, [published(), published()])
    found, headers = await wait(client, "wait=1", topic="orders", after=2)
    assert found == []
    assert headers["Log-Head"] == "2"
    assert headers["Preference-Applied"] == "wait=1"
    assert "Link" not in headers


async def test_a_wait_goes_on_behind_what_a_filter_scanned(
    client: Client, start_soon: StartSoon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "SCAN_ROWS", 3)
    await publish(client, [published(source="common") for _ in range(10)])
    await publish(client, published(source="rare"))
    without = await ask(client, "wait=0", topic="orders", after=0, source="rare")
    assert (await without.json(), "Link" in without.headers) == ([], True)
    events, _ = await wait(client, topic="orders", after=0, source="rare")
    assert [event["offset"] for event in events] == [11]
    waiting = start_soon(wait(client, topic="orders", after=0, source="new"))
    await held(client, 1)
    await publish(client, [published(source="common") for _ in range(10)])
    await publish(client, published(source="new"))
    events, headers = await waiting
    assert [event["offset"] for event in events] == [22]
    assert headers["Log-Head"] == "22"


async def test_a_wait_that_fits_is_confirmed(client: Client) -> None:
    await publish(client, published())
    confirmed = {
        "wait=1": "wait=1",
        "wait=60": "wait=60",
        'WAIT="7"': "wait=7",
        "respond-async, wait = 010; x=y": "wait=10",
        "wait=5, wait=6": "wait=5",
        "return=minimal, wait=5": "wait=5",
    }
    for beginning in ({"after": 0}, {"from_": "start"}):
        found = {}
        for prefer in confirmed:
            events, headers = await wait(client, prefer, topic="orders", **beginning)
            assert len(events) == 1
            found[prefer] = headers["Preference-Applied"]
        assert found == confirmed


NEXT: dict[str, object] = {"topic": "orders", "after": 1}
MISFITS: list[tuple[str, dict[str, object]]] = [
    *((prefer, NEXT) for prefer in (
        "wait=0", "wait=61", "wait=1.5", "wait=-1", "wait=", "wait", "wait=ten", "wait=1s",
        "wait=+5", "wait=0, wait=5", f"wait=1{'0' * 5000}", 'note="wait=5"')),
    (LONG, {"topic": "orders"}),
    (LONG, {"topic": "orders", "order": "asc"}),
    (LONG, {"topic": "nothing"}),
    (LONG, {}),
    (LONG, {"source": "shop", "order": "asc"}),
    (LONG, NEXT | {"order": "desc"}),
    (LONG, NEXT | {"until": "9999-01-01"}),
    (LONG, NEXT | {"until": "1h"}),
    (LONG, {"topic": "orders", "from_": "start", "order": "desc"}),
    (LONG, {"topic": "orders", "event_id": "never"}),
]  # fmt: skip


async def test_a_wait_that_does_not_fit_is_ignored_and_not_confirmed(client: Client) -> None:
    await publish(client, published())
    for prefer, parameters in MISFITS:
        events, headers = await wait(client, prefer, **parameters)
        assert "Preference-Applied" not in headers, (prefer, parameters)
        # As it is without a wait.
        named = {name.rstrip("_"): str(value) for name, value in parameters.items()}
        response = await client.get("/events", params=named)
        assert events == await response.json()


async def test_a_wait_with_a_cursor_is_ignored_and_not_confirmed(client: Client) -> None:
    await publish(client, [published(), published()])
    _, headers = await wait(client, topic="orders", after=0, limit=1)
    link = headers["Link"].partition("<")[2].partition(">")[0]
    response = await client.get(f"/events{link}", headers={"Prefer": LONG})
    assert [event["offset"] for event in await response.json()] == [2]
    assert "Preference-Applied" not in response.headers


async def test_a_wait_for_lines_is_ignored_and_not_confirmed(client: Client) -> None:
    await publish(client, published())
    headers = {"Prefer": LONG, "Accept": "application/x-ndjson"}
    response = await client.get("/events?topic=orders&after=1", headers=headers)
    assert (response.status, await response.read()) == (200, b"")
    assert "Preference-Applied" not in response.headers


async def test_other_paths_ignore_a_wait(client: Client) -> None:
    for path in ("/stats", "/events/orders/none", "/health"):
        response = await client.get(path, headers={"Prefer": LONG})
        assert "Preference-Applied" not in response.headers
    response = await client.post("/publish", json=published(), headers={"Prefer": LONG})
    assert response.status == 200
    assert "Preference-Applied" not in response.headers


async def test_pages_from_the_start_give_all_of_a_topic_in_order(client: Client) -> None:
    await publish(client, [published(topic=topic) for topic in ("orders", "other") * 5])
    for parameters in ({}, {"source": "shop"}, {"since": "1h"}):
        pages = await read_pages(client, topic="orders", limit=2, **{"from": "start"}, **parameters)
        assert [event["offset"] for page in pages for event in page] == [1, 2, 3, 4, 5]
    response = await client.get("/events", params={"topic": "never", "from": "start"})
    assert (await response.json(), response.headers["Log-Head"]) == ([], "0")


async def test_one_event_says_where_the_log_stands(client: Client) -> None:
    await publish(client, [published(event_id="e-1"), published(event_id="e-2")])
    heads = {}
    for topic, event_id in (("orders", "e-1"), ("orders", "none"), ("never", "e-1")):
        response = await client.get("/events", params={"topic": topic, "event_id": event_id})
        assert response.headers["Log-Start"] == "1"
        heads[topic, event_id] = (len(await response.json()), response.headers["Log-Head"])
    assert heads == {
        ("orders", "e-1"): (1, "2"), ("orders", "none"): (0, "2"), ("never", "e-1"): (0, "0"),
    }  # fmt: skip

"""GET /stats with more topics than one answer lists."""

import asyncio
from typing import Any

from support.events import event, published
from support.http import Client, MakeClient
from support.load import check_conservation
from support.stores import ControlledStore
from support.talking import expect_problem, get_json, next_link, publish
from support.tasks import StartSoon

from storage.model import Stats
from storage.protocols import EventStore

COUNTS = ("received", "unique_processed", "duplicate_dropped", "conflicts")
TOPICS = 2_500
# In byte order capitals come first, whatever the language of a database.
NAMES = sorted(f"{'tT'[n % 2]}-{n}" for n in range(TOPICS))


async def fill(client: Client) -> None:
    """One event in each topic, sent twice, and in every hundredth another one under its id."""
    events = [published(topic=name, event_id="e") for name in NAMES]
    others = [published(topic=name, event_id="e", payload={}) for name in NAMES[::100]]
    await publish(client, events + events + others, {"Prefer": "return=minimal"})


async def pages_of(client: Client, target: str = "/stats") -> list[dict[str, Any]]:
    """Every page of the topics, to the end."""
    pages: list[dict[str, Any]] = []
    following = target
    while following:
        response = await client.get(following)
        assert response.status == 200
        pages.append(await response.json())
        link = next_link(response)
        following = "" if link is None else str(link)
        assert len(pages) <= TOPICS
    return pages


async def test_topics_are_listed_by_the_thousand_in_byte_order(client: Client) -> None:
    await fill(client)
    pages = await pages_of(client)
    assert [len(page["topics"]) for page in pages] == [1000, 1000, 500]
    assert [name for page in pages for name in page["topics"]] == NAMES
    totals = [{name: page[name] for name in COUNTS} for page in pages]
    received = 2 * TOPICS + 25
    assert totals[0] == {
        "received": received,
        "unique_processed": TOPICS,
        "duplicate_dropped": received - TOPICS,
        "conflicts": 25,
    }
    assert totals == totals[:1] * 3
    assert [page["topics_total"] for page in pages] == [TOPICS] * 3
    listed = {name: counts for page in pages for name, counts in page["topics"].items()}
    for name in COUNTS:
        assert sum(counts[name] for counts in listed.values()) == totals[0][name]

    behind = await get_json(client, "/stats", topics_after=NAMES[-2])
    assert list(behind["topics"]) == NAMES[-1:]
    nothing = await get_json(client, "/stats", topics_after="z")
    assert (nothing["topics"], nothing["topics_total"]) == ({}, TOPICS)

    one = await get_json(client, "/stats", topic=NAMES[1700])
    assert one["topics"] == {NAMES[1700]: listed[NAMES[1700]]}
    unseen = await get_json(client, "/stats", topic="unseen")
    assert unseen["topics"] == {}
    for stats in (one, unseen):
        assert {name: stats[name] for name in COUNTS} == totals[0]
        assert stats["topics_total"] == TOPICS


async def test_exactly_as_many_topics_as_one_answer_lists_have_no_next_page(
    client: Client,
) -> None:
    events = [published(topic=name) for name in NAMES[:1000]]
    await publish(client, events, {"Prefer": "return=minimal"})
    (page,) = await pages_of(client)
    assert len(page["topics"]) == page["topics_total"] == 1000


async def test_pages_are_conserved_while_topics_are_added(
    client: Client, start_soon: StartSoon
) -> None:
    await fill(client)

    async def write() -> int:
        for number in range(12):
            names = [*NAMES[number::97], f"new-{number}", f"A-{number}"]
            events = [published(topic=name) for name in names for _ in range(2)]
            await publish(client, events, {"Prefer": "return=minimal"})
        return 24

    writing = start_soon(write())
    seen = received = 0
    while not writing.done():
        for page in await pages_of(client):
            check_conservation(page)
            assert page["received"] >= received
            assert page["topics_total"] >= seen
            seen, received = page["topics_total"], page["received"]
    assert (await get_json(client, "/stats"))["topics_total"] == TOPICS + await writing


async def test_one_answer_is_one_snapshot(store: EventStore, start_soon: StartSoon) -> None:
    """Totals, their number and the topics listed agree in each, whatever is stored meanwhile."""

    async def write() -> None:
        for number in range(60):
            await store.append([event(f"t-{number}", "a"), event("t-0", f"{number}")])

    writing = start_soon(write())
    answers: list[Stats] = []
    while not writing.done():
        answers.append(await store.stats())
        await asyncio.sleep(0)
    assert len({stats.topics_total for stats in answers}) > 3
    for stats in answers:
        assert len(stats.topics) == stats.topics_total
        for name in COUNTS:
            total = sum(getattr(counts, name) for counts in stats.topics.values())
            assert total == getattr(stats.totals, name)


async def test_parameters_that_break_a_rule_are_refused(client: Client) -> None:
    for query, field in (
        ("topic=", None),
        ("topics_after", None),
        ("topic=a&topic=b", None),
        ("_=1", None),
        ("limit=5", None),
        ("topic=%FF", None),
        ("topic=a%20b", "topic"),
        ("topics_after=a%00", "topics_after"),
        ("topics_after=" + "a" * 250, "topics_after"),
        ("topic=a&topics_after=b", "topics_after"),
    ):
        problem = await expect_problem(await client.get(f"/stats?{query}"), 422)
        named = [error["field"] for error in problem.get("errors", [])]
        assert named == ([field] if field else []), query


async def test_metrics_reads_no_topics(make_client: MakeClient, store: EventStore) -> None:
    listed: list[int] = []

    class Watched(ControlledStore):
        async def stats(self, **asked: Any) -> Stats:
            stats = await super().stats(**asked)
            listed.append(len(stats.topics))
            return stats

    client = await make_client(Watched(store))
    await publish(client, [published(topic="a"), published(topic="b")])
    page = await (await client.get("/metrics")).text()
    assert listed == [0]
    assert "\naggregator_log_topics 2.0\n" in page
    assert "\naggregator_log_received 2.0\n" in page

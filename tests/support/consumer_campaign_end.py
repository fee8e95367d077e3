"""The end of a campaign of consumers: what there is, held against what there must be."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import aiohttp

from support.consumer_campaign_draw import Subject
from support.consumer_campaign_effects import Effect, read_effects
from support.consumer_campaign_judge import Found, Log, judge
from support.consumer_campaign_plan import RESULTS, STEP, Kind
from support.consumer_campaign_tally import SubjectTally
from support.load import get_json, read_log
from support.subscribing import check_law


async def read_topics(
    client: aiohttp.ClientSession,
    url: str,
    topics: Iterable[str],
    stored: Mapping[tuple[str, int], str],
) -> Log:
    """Return the log, which must have all that publishers were told.

    Args:
        client: what requests are sent with.
        url: of the aggregator.
        topics: that are read.
        stored: by topic and offset, the ids of events.
    """
    log = {}
    for topic in topics:
        events = await read_log(client, url, topic)
        log[topic] = {event["offset"]: event["event_id"] for event in events}
        assert [*log[topic]] == [*range(1, len(events) + 1)], f"the offsets of {topic} have gaps"
    lost = [place for place, event_id in stored.items() if log[place[0]].get(place[1]) != event_id]
    assert not lost, f"published, but not stored where it was told: {lost}"
    return log


async def settle_accounts(
    client: aiohttp.ClientSession,
    url: str,
    subject: Subject,
    target: str,
    tally: SubjectTally,
    log: Log,
) -> Found:
    """Check that all of a subscription is acknowledged, and judge its effects or results.

    Args:
        client: what requests are sent with.
        url: of the aggregator.
        subject: the subscription.
        target: the database of its consumers.
        tally: takes the figures.
        log: of the topics of the subscription.
    """
    status = await get_json(client, f"{url}/subscriptions/{subject.name}")
    check_law(status)
    assert status["acknowledged"] == status["head"] - status["start"], status
    wanted = {
        topic: {n: events[n] for n in events if n > status["topics"][topic]["start"]}
        for topic, events in log.items()
    }
    if subject.kind is Kind.RESULTS:
        topic = RESULTS + subject.name
        effects = _results(await read_log(client, url, topic), log)
        counts = (await get_json(client, f"{url}/stats"))["topics"][topic]
        assert counts["conflicts"] == 0, counts
        tally.repeated = counts["duplicate_dropped"]
    else:
        effects = await read_effects(target, subject.name, is_sqlite=subject.library.is_sqlite)
    found = judge(effects, wanted)
    tally.events = sum(map(len, wanted.values()))
    tally.redelivered = status["redelivered"]
    tally.effects, tally.doubles = found.effects, len(found.doubles)
    tally.missing, tally.misordered = len(found.missing), len(found.misordered)
    return found


def check_found(subject: Subject, found: Found) -> None:
    """Check what is promised to the consumers of a subscription."""
    promised = found.at_least_once if subject.kind is Kind.ACKS else found.exactly_once
    assert promised, f"{subject.name}: {_told(found)}"
    # Results are published at once, and side by side.
    if subject.order == "topic" and subject.kind is not Kind.RESULTS:
        assert not found.misordered, f"{subject.name}: {_told(found)}"


def _results(events: Sequence[Mapping[str, Any]], log: Log) -> list[Effect]:
    """Return results as effects of the events that they were made of."""
    effects = []
    for event in events:
        topic, offset = event["payload"]["topic"], event["payload"]["offset"]
        is_of_it = event["event_id"] == f"{topic}/{offset}/{STEP}"
        effects.append(Effect(topic, offset, log[topic][offset] if is_of_it else "", 0))
    return effects


def _told(found: Found) -> str:
    return ", ".join(
        f"{name} {len(some)}: {[*some][:5]}"
        for name, some in found._asdict().items()
        if name != "effects"
    )

"""A run from its start to its last check."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import replace
from typing import NamedTuple

import aiohttp
from yarl import URL

from publisher.load.content import Content
from publisher.load.findings import Findings
from publisher.load.key_ids import ids_for
from publisher.load.log_check import TopicCheck, check_topic
from publisher.load.measurements import Measurements
from publisher.load.plan import Plan
from publisher.load.read_back import Reader, ReadFailed, Stats
from publisher.load.report import Report, Settings
from publisher.load.sender import Drive, RunEnded
from publisher.load.stats_check import StatsSeen, check_rise
from publisher.load.stats_watch import watching
from publisher.load.verdict_check import Told
from publisher.retry import RetryPolicy
from publisher.user_agent import USER_AGENT

START_PATIENCE_S = 3.0
"""An aggregator that is not there by then won't be: people want to know soon."""

LONGEST_RETRY_WAIT_S = 2.0
"""Shorter than that of others who publish, so that the load is back soon after the aggregator."""

_PROBED_REQUESTS = 3

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Makes a bar of so many events with that title; what it gives is told how many more are done."""


class CannotStart(Exception):
    """Nothing was sent; the message is one sentence."""


class _Aggregator(NamedTuple):
    """The sessions and readers of a run.

    hurried: looks once. patient: tries again for as long as a publish would.
    """

    publishing: aiohttp.ClientSession
    starting: Reader
    hurried: Reader
    patient: Reader


async def run_load(settings: Settings, plan: Plan, progress: Progress) -> Report:
    """Send a plan and check all that comes of it.

    Raises CannotStart.
    """
    topics = settings.topics
    content = Content(plan, ids_for(settings.ids, settings.run), topics, settings.payload_bytes)
    async with _connected(settings) as aggregator:
        before = await _start(aggregator.starting, plan, content, settings)
        heads = [before.of(topic).head_offset for topic in topics]
        findings, measurements = Findings(), Measurements()
        told = Told(plan, content, heads, findings)
        seen = StatsSeen(before, findings)
        # A URL may hold a password, which is nobody's business.
        public = replace(settings, url=str(URL(settings.url).with_user(None)))
        report = Report(public, plan.shape, before.backend, told, measurements, findings, seen)
        try:
            with progress("sending", plan.shape.events) as on_events:
                async with watching(aggregator.hurried, seen, told):
                    drive = Drive(
                        plan, content, told, measurements,
                        rate=settings.rate, policy=_policy(settings), on_events=on_events,
                    )  # fmt: skip
                    await drive.run(aggregator.publishing, settings.url)
            after = await aggregator.patient.stats(topics)
            seen.take(after, told.events - told.rejected)
            report.rise = check_rise(plan, topics, before, after, told, findings)
            key_at = told.settle()
            checks = [
                TopicCheck(topic, heads[number], key_at[number], content, told, findings)
                for number, topic in enumerate(topics)
            ]
            with progress("reading back", plan.shape.unique) as on_events:

                def on_read(events: int) -> None:
                    report.read_back += events
                    on_events(events)

                for topic, head, check in zip(topics, heads, checks, strict=True):
                    await check_topic(aggregator.patient, check, topic, head, on_read)
        except (RunEnded, ReadFailed) as error:
            report.ended = str(error)
    return report


def _policy(settings: Settings) -> RetryPolicy:
    return RetryPolicy(max_wait_s=LONGEST_RETRY_WAIT_S, deadline_s=settings.deadline)


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[_Aggregator]:
    connections = aiohttp.TCPConnector(limit=settings.concurrency)
    async with (
        aiohttp.ClientSession(connector=connections) as publishing,
        # Of its own, so that a look at /stats waits for no publish.
        aiohttp.ClientSession(headers={"User-Agent": USER_AGENT}) as reading,
    ):
        starting, hurried, patient = (
            Reader(reading, settings.url, patience_s)
            for patience_s in (min(START_PATIENCE_S, settings.deadline), 0.0, settings.deadline)
        )
        yield _Aggregator(publishing, starting, hurried, patient)


async def _start(reader: Reader, plan: Plan, content: Content, settings: Settings) -> Stats:
    """Give the counts before the run, unless its events are in the log already."""
    try:
        before = await reader.stats(settings.topics)
        requests = range(min(_PROBED_REQUESTS, plan.shape.requests))
        for key in {plan.keys[plan.positions(request).start] for request in requests}:
            topic, event_id = content.topic(key), content.event_id(key)
            if await reader.has(topic, event_id):
                raise CannotStart(
                    f"event {event_id!r} of topic {topic!r} is in the log already, so run "
                    f"{settings.run!r} was sent before: choose another --run, or none"
                )
    except ReadFailed as error:
        raise CannotStart(str(error)) from error
    return before

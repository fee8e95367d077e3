"""One run of the load generator, from its start to its last check."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import replace
from typing import NamedTuple

import aiohttp
from yarl import URL

from publisher.credentials import NO_CREDENTIALS, Credentials
from publisher.load.content import Content
from publisher.load.findings import Findings
from publisher.load.key_ids import ids_for
from publisher.load.log_check import TopicCheck, check_topic
from publisher.load.measurements import Measurements
from publisher.load.plan import Plan
from publisher.load.read_back import Reader, ReadFailed, Stats
from publisher.load.report import Report, Settings
from publisher.load.sender import RunEnded, Sender
from publisher.load.stats_check import StatsCheck, check_increase
from publisher.load.stats_watch import watch_stats
from publisher.load.verdict_check import VerdictCheck
from publisher.retry import RetryPolicy
from publisher.user_agent import USER_AGENT

START_DEADLINE_S = 3.0
"""The time for the first response: people want to know soon that there is no aggregator."""

MAX_RETRY_WAIT_S = 2.0
"""Shorter than that of other publishers, so that the load is back soon after the aggregator."""

_PROBED_REQUESTS = 3

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Opens a progress bar with a title and a number of events, to be called with those done."""


class CannotStart(Exception):
    """The run can't start, and nothing was sent; the message is one sentence."""


class _Clients(NamedTuple):
    """The session that publishes, and the readers.

    Args:
        publishing: the session of the sender.
        starting: a reader that retries for START_DEADLINE_S at most.
        polling: a reader without retries.
        final: a reader that retries for as long as a publish.
    """

    publishing: aiohttp.ClientSession
    starting: Reader
    polling: Reader
    final: Reader


async def run_load(
    settings: Settings,
    plan: Plan,
    progress: Progress,
    credentials: Credentials = NO_CREDENTIALS,
) -> Report:
    """Send a plan and check every result.

    Args:
        settings: the options of the run.
        plan: the plan.
        progress: opens a progress bar.
        credentials: what is shown with each request.

    Returns:
        The report, also of a run that ended early.

    Raises:
        CannotStart: the aggregator does not answer, or the run was sent before.
    """
    topics = settings.topics
    content = Content(plan, ids_for(settings.ids, settings.run), topics, settings.payload_bytes)
    async with _connected(settings, credentials) as clients:
        before = await _start(clients.starting, plan, content, settings)
        heads = [before.of(topic).head_offset for topic in topics]
        findings, measurements = Findings(), Measurements()
        verdicts = VerdictCheck(plan, content, heads, findings)
        stats_check = StatsCheck(before, findings)
        # Without the user and the password of the URL.
        public = replace(settings, url=str(URL(settings.url).with_user(None)))
        report = Report(
            public, plan.shape, before.backend, verdicts, measurements, findings, stats_check
        )
        try:
            with progress("sending", plan.shape.events) as on_events:
                sender = Sender(
                    plan,
                    content,
                    verdicts,
                    measurements,
                    rate=settings.rate,
                    policy=_policy(settings),
                    credentials=credentials,
                    on_events=on_events,
                )
                async with watch_stats(clients.polling, stats_check, verdicts):
                    await sender.run(clients.publishing, settings.url)
            after = await clients.final.stats(topics)
            stats_check.check(after, verdicts.acknowledged)
            report.increase = check_increase(plan, topics, before, after, verdicts, findings)
            key_at = verdicts.finish()
            checks = [
                TopicCheck(topic, heads[number], key_at[number], content, verdicts, findings)
                for number, topic in enumerate(topics)
            ]
            with progress("reading back", plan.shape.unique) as on_events:

                def on_read(events: int) -> None:
                    report.read_back += events
                    on_events(events)

                for topic, head, check in zip(topics, heads, checks, strict=True):
                    await check_topic(clients.final, check, topic, head, on_read)
        except (RunEnded, ReadFailed) as error:
            report.ended = str(error)
    return report


def _policy(settings: Settings) -> RetryPolicy:
    return RetryPolicy(max_wait_s=MAX_RETRY_WAIT_S, deadline_s=settings.deadline)


@asynccontextmanager
async def _connected(settings: Settings, credentials: Credentials) -> AsyncIterator[_Clients]:
    async with (
        aiohttp.ClientSession(connector=credentials.connector(settings.concurrency)) as publishing,
        # A session of its own, so that a poll of /stats waits for no publish.
        aiohttp.ClientSession(
            connector=credentials.connector(), headers={"User-Agent": USER_AGENT}
        ) as reading,
    ):
        starting, polling, final = (
            Reader(reading, settings.url, deadline_s, credentials)
            for deadline_s in (min(START_DEADLINE_S, settings.deadline), 0.0, settings.deadline)
        )
        yield _Clients(publishing, starting, polling, final)


async def _start(reader: Reader, plan: Plan, content: Content, settings: Settings) -> Stats:
    """Return the counts before the run; raises CannotStart if its events are in the log already."""
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

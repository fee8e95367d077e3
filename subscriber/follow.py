"""Following topics: an asynchronous iterator of events that survives every cut.

async with follow("http://127.0.0.1:8080", "orders", start="start") as events:
    async for event in events:
        print(event.offset, event.payload)
"""

import logging
from collections.abc import Callable
from datetime import datetime

from publisher.credentials import NO_CREDENTIALS, Credentials
from subscriber.following import Following, OnCaughtUp, OnGap
from subscriber.policy import OnWait, ReconnectPolicy, Wait
from subscriber.query import Start, query_of
from subscriber.sequence import Sequence

_log = logging.getLogger("subscriber")


def follow(
    url: str,
    *topics: str,
    after: int | None = None,
    start: Start | None = None,
    last: int | None = None,
    since: datetime | str | None = None,
    position: str | None = None,
    source: str | None = None,
    until_caught_up: bool = False,
    credentials: Credentials | None = None,
    policy: ReconnectPolicy | None = None,
    on_wait: OnWait | None = None,
    on_open: Callable[[], None] | None = None,
    on_caught_up: OnCaughtUp | None = None,
    on_gap: OnGap | None = None,
) -> Following:
    """Follow topics: every event behind a place, once, in the order of each topic's offsets.

    It reconnects by itself, for ever unless the policy says otherwise, and proves with the offsets
    that no event is missing and none comes twice. Callbacks are called from within the iteration,
    and what they raise is raised from it.

    Args:
        url: the aggregator's URL, without `/events`.
        topics: 1 to 100 names and patterns: `*` is a whole part between dots, `**` at the end one
            part or more. A topic that appears later and matches joins from its first event.
        after: begin behind this offset, with a single topic that is no pattern.
        start: `now`, which is the default, or `start`, the first event of each topic.
        last: begin with the newest events of each topic, this many, 1 to 5,000.
        since: begin with what was stored since a time with a time zone, or since a duration back
            from now such as `5m`, `2h`, `3d`.
        position: go on behind a position that `Following.position` gave for the same topics. It
            wins over `after`, `start`, `last` and `since`, which then are for the first time, when
            it is None.
        source: leave out what has another source. Without it alone can it be proved that no event
            is missing.
        until_caught_up: end the iteration once everything that was there has come.
        credentials: the token, whom to trust, the client's certificate and further headers.
        policy: when to reconnect, and when to give up.
        on_wait: called before each wait. Without it, the logger `subscriber` gets a warning for the
            first one in a row.
        on_open: called when a stream has begun, the first one and each one after a wait.
        on_caught_up: called with the head offset of each topic when everything that was there has
            come, and again when it has caught up later.
        on_gap: called with a gap before going on behind it. Without it, `GapError` is raised.

    Returns:
        The iterator, which connects when the first event is asked for.

    Raises:
        ValueError: an argument is out of its range, or they do not go together; one sentence.
    """
    query = query_of(url, topics, after=after, start=start, last=last, since=since, source=source)
    credentials = credentials or NO_CREDENTIALS
    credentials.check_url(url)
    if position is not None and not (position and position.isprintable()):
        raise ValueError(f"{position!r} is not a position that a stream gave")
    sequence = Sequence(is_filtered=source is not None)
    if query.only_topic and position is None and after is not None:
        sequence.begin(query.only_topic, after)
    return Following(
        query,
        sequence,
        position,
        until_caught_up=until_caught_up,
        credentials=credentials,
        policy=policy or ReconnectPolicy(),
        on_wait=on_wait or _warn_once,
        on_open=on_open,
        on_caught_up=on_caught_up,
        on_gap=on_gap,
    )


def _warn_once(wait: Wait) -> None:
    if wait.attempt == 1:
        _log.warning("%s; trying again until there is a stream", wait.reason)

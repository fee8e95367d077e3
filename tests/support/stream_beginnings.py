"""Where a reader of streams begins, and behind which offsets that is by the log."""

import itertools

from support.http import Client
from support.stream_model import CheckedReader, Log
from support.talking import read_all

BEGINNINGS = ["start", "now", "last", "after", "since", None]
"""None: nothing is said."""

_NO_TIME = "2026-01-31T12:00:00Z"


async def begin(
    reader: CheckedReader, log: Log, client: Client, how: str | None, number: int
) -> None:
    """Say where a reader begins; what does not go with its topics is `now`, or with lines `start`.

    Args:
        reader: it.
        log: what is stored.
        client: of an aggregator, which knows the times of events.
        how: one of `BEGINNINGS`.
        number: chooses among the offsets or times.
    """
    heads = {topic: log.head(topic) for topic in reader.topics}
    name = reader.wanted[0]
    one_topic = len(reader.wanted) == 1 and "*" not in name
    if how == "last":
        last = 1 + number % 5
        reader.begin = {"last": last}
        reader.floors = {topic: max(0, head - last) for topic, head in heads.items()}
    elif how == "after" and one_topic:
        head = log.head(name)
        # Above the head there are no lines, and nothing to follow.
        after = number % (head + (1 if reader.lines else 3))
        reader.begin = {"after": after}
        reader.floors = {name: min(after, head)}
    elif how == "since":
        await _begin_since(reader, client, number)
    elif how == "start" or (how is None and reader.lines):
        reader.begin = {} if how is None else {"from": "start"}
    else:
        reader.begin = {} if how is None else {"from": "now"}
        reader.floors = heads


async def _begin_since(reader: CheckedReader, client: Client, number: int) -> None:
    times = {
        topic: [event["ts_ingest"] for event in await read_all(client, topic=topic, after=0)]
        for topic in reader.topics
    }
    all_times = sorted(itertools.chain(*times.values())) or [_NO_TIME]
    time = all_times[number % len(all_times)]
    reader.begin = {"since": time}
    # What is stored later is behind it in any case.
    reader.floors = {topic: sum(each < time for each in of) for topic, of in times.items()}

"""Beginnings of streams: the offset of each topic behind which a stream begins."""

from collections.abc import Mapping

from aggregator.live.topic_listing import list_topics
from aggregator.wire.errors import InvalidRequest
from aggregator.wire.event_query import LOG_START
from aggregator.wire.stream_blocks import Gap
from aggregator.wire.stream_position import MAX_POSITION_BYTES
from aggregator.wire.stream_query import Start, StreamRequest
from storage.protocols import EventReader

MAX_TOPICS = 1024
"""Topics that a stream has at most: the position of more can't be told."""


async def matching_topics(store: EventReader, request: StreamRequest) -> list[str]:
    """List the topics that are named, and those that fit a pattern and are there or once were.

    Raises:
        InvalidRequest: there are more than a stream may have.
        StorageError: the store failed.
    """
    wanted = request.topics
    topics = dict.fromkeys([*wanted.names, *filter(wanted.matches, request.position or ())])
    for prefix in wanted.prefixes:
        async for heads in list_topics(store, prefix):
            topics.update(dict.fromkeys(filter(wanted.matches, heads)))
            if len(topics) > MAX_TOPICS:
                raise too_many(f"more than {MAX_TOPICS}")
    return list(topics)


async def first_offsets(
    store: EventReader, request: StreamRequest, heads: Mapping[str, int]
) -> dict[str, int]:
    """Find the offset of each topic behind which a stream begins, which may be above its head.

    Args:
        store: times are looked up in it.
        request: the stream.
        heads: the head offsets of its topics.

    Raises:
        StorageError: the store failed.
    """
    if (position := request.position) is not None:
        return {topic: position.get(topic, LOG_START - 1) for topic in heads}
    match request.start:
        case Start.AFTER:
            return dict.fromkeys(heads, request.number)
        case Start.LOG_START:
            return dict.fromkeys(heads, LOG_START - 1)
        case Start.NOW:
            return dict(heads)
        case Start.LAST:
            return {
                topic: max(head - request.number, LOG_START - 1) for topic, head in heads.items()
            }
        case Start.SINCE:
            firsts = {topic: await store.first_offset(topic, request.number) for topic in heads}
            return {topic: min(firsts[topic] - 1, head) for topic, head in heads.items()}


def gaps(offsets: Mapping[str, int], heads: Mapping[str, int]) -> list[Gap]:
    """Return what readers have had by their offsets and the log does not have."""
    return [
        Gap(topic, heads[topic] + 1, offset, "head_is_lower", heads[topic])
        for topic, offset in offsets.items()
        if offset > heads[topic]
    ]


def too_many(topics: str) -> InvalidRequest:
    """Return the error of a stream whose position can't be told."""
    return InvalidRequest(
        f"the position of a stream of {topics} topics is longer than {MAX_POSITION_BYTES} bytes: "
        "follow fewer of them, in several streams, or use a subscription, which keeps the place"
    )

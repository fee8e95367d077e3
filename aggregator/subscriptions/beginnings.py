"""Beginnings of subscriptions: the offset of each topic behind which one begins, or is moved to."""

import time
from collections.abc import Mapping

from aggregator.live.topic_listing import list_topics
from aggregator.subscriptions.errors import InvalidCommand
from aggregator.wire.query_parameters import parse_since
from storage.protocols import EventReader
from storage.subscriptions.model import Beginning
from storage.topic_patterns import TopicSelection


async def existing_topics(store: EventReader, wanted: TopicSelection) -> dict[str, int]:
    """List the heads of the topics that exist and are selected.

    Args:
        store: is read.
        wanted: the selection.

    Raises:
        StorageError: the store failed.
    """
    heads = dict(await store.heads(wanted.names)) if wanted.names else {}
    for prefix in wanted.prefixes:
        async for page in list_topics(store, prefix):
            heads.update({topic: head for topic, head in page.items() if wanted.matches(topic)})
    return {topic: head for topic, head in heads.items() if head}


async def starts(
    store: EventReader, begins: Beginning, wanted: TopicSelection
) -> Mapping[str, int]:
    """Find the offset of each topic behind which a subscription begins; 0 where none is named.

    Args:
        store: heads and times are looked up in it.
        begins: where it begins.
        wanted: its topics.

    Raises:
        InvalidCommand: an offset is above the head, or of a topic that is not selected.
        StorageError: the store failed.
    """
    if begins.offsets is not None:
        return await _checked(store, begins.offsets, wanted)
    heads = await existing_topics(store, wanted)
    if begins.since is not None:
        since_us = parse_since(begins.since, time.time_ns() // 1000)
        return {
            topic: min(await store.first_offset(topic, since_us) - 1, head)
            for topic, head in heads.items()
        }
    return heads if begins.at == "now" else dict.fromkeys(heads, 0)


async def _checked(
    store: EventReader, offsets: Mapping[str, int], wanted: TopicSelection
) -> Mapping[str, int]:
    for topic in offsets:
        if not wanted.matches(topic):
            raise InvalidCommand(
                f"from.offsets names {topic!r}, which is not one of the subscription's topics"
            )
    heads = await store.heads(list(offsets))
    for topic, offset in offsets.items():
        if offset > heads.get(topic, 0):
            raise InvalidCommand(
                f"from.offsets has {offset} for {topic!r}, above its head, {heads.get(topic, 0)}"
            )
    return offsets

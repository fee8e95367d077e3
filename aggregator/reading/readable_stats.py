"""The counts of the topics that may be read, page by page."""

from collections.abc import Callable

from storage.model import TOPICS_PER_PAGE, Counts, Stats
from storage.protocols import EventReader


async def readable_stats(
    store: EventReader, may_read: Callable[[str], bool], topic: str | None, after: str
) -> Stats:
    """Read the counts of a page of topics that may be read, with their sums in place of totals.

    Nothing tells of other topics, not even where a page ends: one without any is passed over.

    Args:
        store: is read.
        may_read: tells whether a topic may be read.
        topic: only this one is listed, if it has an event.
        after: those behind this name are listed.
    """
    while True:
        stats = await store.stats(topic=topic, after=after, limit=TOPICS_PER_PAGE)
        shown = {name: counts for name, counts in stats.topics.items() if may_read(name)}
        if shown or not stats.more:
            break
        after = max(stats.topics)
    counts = shown.values()
    return Stats(
        totals=Counts(
            received=sum(each.received for each in counts),
            unique_processed=sum(each.unique_processed for each in counts),
            duplicate_dropped=sum(each.duplicate_dropped for each in counts),
            conflicts=sum(each.conflicts for each in counts),
        ),
        topics_total=len(shown),
        topics=shown,
        more=stats.more,
    )

"""The listing of topics, page by page: there may be a million of them."""

from collections.abc import AsyncIterator, Mapping

from storage.model import TOPICS_PER_PAGE
from storage.protocols import EventReader


async def list_topics(store: EventReader, prefix: str) -> AsyncIterator[Mapping[str, int]]:
    """List the topics whose names begin with a prefix.

    Args:
        store: the names are read from it.
        prefix: none: every topic.

    Yields:
        Head offsets by topic, in pages.

    Raises:
        StorageError: the store failed.
    """
    after: str | None = None
    while True:
        heads = await store.heads_by_prefix(prefix, after=after)
        yield heads
        if len(heads) < TOPICS_PER_PAGE:
            return
        after = list(heads)[-1]

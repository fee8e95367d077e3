"""The limit of subscriptions of an entry."""

from aggregator.access.entries import Entry
from aggregator.subscriptions.errors import InvalidCommand
from storage.protocols import SubscriptionStore

_PAGE = 500


async def check_subscription_limit(store: SubscriptionStore, entry: Entry) -> None:
    """Return if another subscription may be made.

    It is an error that stays until one is deleted, so it is none that is to be tried again.

    Args:
        store: has those that are there.
        entry: its limit is of those that its patterns match, whoever made them.

    Raises:
        InvalidCommand: there are as many as may be.
    """
    limit = entry.limits.subscriptions
    if limit is None:
        return
    there, after = 0, ""
    while there < limit:
        page = await store.subscriptions(after=after, limit=_PAGE)
        there += sum(entry.may_subscribe(each.name) for each in page)
        if len(page) < _PAGE:
            break
        after = page[-1].name
    if there >= limit:
        raise InvalidCommand(
            f"{entry.name!r} may have {limit} subscriptions, and as many are there; delete one "
            "before another is made"
        )

"""Subscriptions as text for people."""

import json
from collections.abc import Iterator, Sequence

from subscriber.cli import counted
from subscriber.commands.administration.answers import Counts, Subscription
from subscriber.commands.administration.table import Cell, table
from subscriber.commands.lines import visible

_SHOWN_TOPICS = 3
_HEADS = (
    "topic", "head", "start", "acknowledged", "dead", "leased", "waiting", "redelivered",
    "lag seconds",
)  # fmt: skip
_ALL = "(all)"


def list_text(subscriptions: Sequence[Subscription]) -> list[str]:
    """Return the lines of a list of subscriptions."""
    heads = ("name", "state", "topics", "lag events", "lag seconds", "leased", "dead")
    return table(
        heads,
        [
            (
                each.name,
                each.state,
                _topics(each),
                each.lag.events,
                each.lag.seconds,
                each.leased,
                each.dead,
            )
            for each in subscriptions
        ],
    )


def subscription_text(pages: Sequence[Subscription]) -> Iterator[str]:
    """Yield the lines of one subscription.

    Args:
        pages: it with a page of its topics each, at least one.
    """
    last = pages[-1]
    state = last.state if last.reason is None else f"{last.state} ({last.reason})"
    yield visible(f"{last.name} is {state}")
    yield ""
    for setting, value in last.settings.items():
        yield f"{setting:<16} {visible(json.dumps(value, ensure_ascii=False))}"
    yield ""
    rows = [_row(name, counts) for page in pages for name, counts in page.topics.items()]
    if rows:
        yield from table(_HEADS, [*rows, _row(_ALL, last)])
        yield ""
    yield "head - start = acknowledged + dead + leased + waiting"
    yield (
        f"{last.head:,} - {last.start:,} = {last.acknowledged:,} + {last.dead:,} + "
        f"{last.leased:,} + {last.waiting:,}"
    )
    if len(pages) > 1:
        yield ""
        yield f"Its {counted(last.topics_total, 'topic')} were looked at one page after the other."


def _row(name: str, counts: Counts) -> tuple[Cell, ...]:
    return (
        name,
        counts.head,
        counts.start,
        counts.acknowledged,
        counts.dead,
        counts.leased,
        counts.waiting,
        counts.redelivered,
        counts.lag.seconds,
    )


def _topics(subscription: Subscription) -> str:
    topics = [str(topic) for topic in subscription.settings.get("topics") or ()]
    shown = ", ".join(topics[:_SHOWN_TOPICS])
    left = len(topics) - _SHOWN_TOPICS
    return f"{shown} and {left} more" if left > 0 else shown

"""The tables that `verify` prints: a line a topic, as each is done, and a line a subscription."""

from collections.abc import Iterator, Sequence

from storage.audit.recount import TopicFound
from storage.audit.snapshot import Extent
from storage.audit.subscriptions import SubscriptionFound
from storage.model import Counts

_TOTAL = "total"
_WIDEST_TOPIC = 60
"""Characters; a longer name pushes its line to the right rather than be cut."""
_HEADS = ("received", "unique_processed", "duplicate_dropped", "conflicts", "rows", "head_offset")
_SUBSCRIPTION_HEADS = ("topics", "acknowledged", "dead", "unsettled", "new")


class Table:
    """Lines of columns that are as wide as the counts say they must be.

    Args:
        extent: of the database.
    """

    def __init__(self, extent: Extent) -> None:
        self._topic_width = min(max(extent.topic_width, len(_TOTAL)), _WIDEST_TOPIC)
        self._widths = [max(extent.count_width, len(head)) for head in _HEADS]
        self._totals = [0] * 5
        self.topics = 0
        self.rows = 0

    def head(self) -> str:
        """The names of the columns."""
        return self._line("topic", _HEADS, "verdict")

    def topic(self, found: TopicFound) -> str:
        """The line of one topic, which is added to the total."""
        four = _four(found.counts) if found.counts else ["-"] * 4
        counts = [*four, found.rows]
        self.topics += 1
        self.rows += found.rows
        for place, count in enumerate(counts):
            if isinstance(count, int):
                self._totals[place] += count
        return self._line(_plain(found.topic), [*counts, found.head_offset], _verdict(found))

    def total(self, differences: int) -> str:
        """The line of all topics together; `differences` are those of the whole database."""
        return self._line(_TOTAL, [*self._totals, ""], _said(differences))

    def _line(self, topic: str, cells: Sequence[int | str], verdict: str) -> str:
        middle = "  ".join(
            f"{cell!s:>{width}}" for cell, width in zip(cells, self._widths, strict=True)
        )
        return f"{topic:<{self._topic_width}}  {middle}  {verdict}"


def subscription_lines(every: Sequence[SubscriptionFound]) -> Iterator[str]:
    """Yield the table of subscriptions: the names of its columns, and a line each."""
    names = [_plain(each.name) for each in every]
    name_width = min(max(map(len, [*names, "subscription"])), _WIDEST_TOPIC)
    rows: list[Sequence[int | str]] = [
        _SUBSCRIPTION_HEADS,
        *((e.topics, e.acknowledged, e.dead, e.unsettled, e.new) for e in every),
    ]
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    verdicts = ["verdict", *(_said(each.differences) for each in every)]
    for name, cells, verdict in zip(["subscription", *names], rows, verdicts, strict=True):
        middle = "  ".join(f"{cell!s:>{width}}" for cell, width in zip(cells, widths, strict=True))
        yield f"{name:<{name_width}}  {middle}  {verdict}"


def counted(count: int, what: str) -> str:
    """A number with its noun: "1 row", "2 rows"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _four(counts: Counts) -> list[int | str]:
    return [
        counts.received,
        counts.unique_processed,
        counts.duplicate_dropped,
        counts.conflicts,
    ]


def _verdict(found: TopicFound) -> str:
    return "unknown" if found.differences is None else _said(found.differences)


def _said(differences: int) -> str:
    return counted(differences, "difference") if differences else "ok"


def _plain(topic: str) -> str:
    # No topic that keeps to the rules is changed by this.
    return topic if topic.isprintable() and topic and not topic[0].isspace() else ascii(topic)

"""The proof that a stream is complete: the offsets of each topic, one behind the other."""

from collections.abc import Mapping

from subscriber.errors import HoleError
from subscriber.events import Gap


class Sequence:
    """Checks the offsets of each topic, over any number of connections.

    What comes first of a topic can't be checked unless it is known where the stream began, or the
    stream has caught up since: then it has told where each topic stands, and a topic that comes
    later begins at 1.

    Args:
        is_filtered: a filter leaves events out. Then offsets need only ascend.
    """

    def __init__(self, *, is_filtered: bool) -> None:
        self._is_filtered = is_filtered
        self._last: dict[str, int] = {}
        self._has_caught_up = False

    def begin(self, topic: str, offset: int) -> None:
        """Set the offset behind which a topic begins, unless it is known by now."""
        self._last.setdefault(topic, offset)

    def take(self, topic: str, offset: int) -> None:
        """Take the offset of an event that came.

        Raises:
            HoleError: events are missing before it, or it came before.
        """
        last = self._last.get(topic, 0 if self._has_caught_up else None)
        if last is not None and (offset <= last or (offset > last + 1 and not self._is_filtered)):
            raise HoleError(topic, last + 1, offset)
        self._last[topic] = offset

    def jump(self, gap: Gap) -> None:
        """Go on behind a gap."""
        self._last[gap.topic] = gap.goes_on_behind

    def catch_up(self, heads: Mapping[str, int]) -> None:
        """Take the heads that a block `caught-up` gives: everything up to them has come.

        Raises:
            HoleError: a topic's head is not where its events ended.
        """
        for topic, head in heads.items():
            last = self._last.get(topic)
            if last is not None and (head < last or (head > last and not self._is_filtered)):
                raise HoleError(topic, last + 1, head + 1)
        self._last.update(heads)
        self._has_caught_up = True

"""The judge of a campaign of consumers: effects against the log, without the project's code."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from support.consumer_campaign_effects import Effect

Log = Mapping[str, Mapping[int, str]]
"""By topic and offset, the id of the event."""


class Found(NamedTuple):
    """What the judge has found.

    Args:
        effects: their number.
        doubles: effects beyond the first of their event.
        missing: events without an effect.
        foreign: effects of what is not in the log.
        misordered: first effects of events, behind the first effect of a later event.
    """

    effects: int
    doubles: Sequence[Effect]
    missing: Sequence[tuple[str, int]]
    foreign: Sequence[Effect]
    misordered: Sequence[Effect]

    @property
    def at_least_once(self) -> bool:
        """Whether every event had its effect, and nothing else had one."""
        return not (self.missing or self.foreign)

    @property
    def exactly_once(self) -> bool:
        """Whether every event had one effect, and nothing else had one."""
        return self.at_least_once and not self.doubles


def judge(effects: Sequence[Effect], log: Log) -> Found:
    """Judge effects.

    Args:
        effects: in the order in which they were written.
        log: the events that were to have one.
    """
    counts: Counter[tuple[str, int]] = Counter()
    heads: dict[str, int] = {}
    doubles, foreign, misordered = [], [], []
    for effect in effects:
        place = (effect.topic, effect.offset)
        if log.get(effect.topic, {}).get(effect.offset) != effect.event_id:
            foreign.append(effect)
            continue
        counts[place] += 1
        if counts[place] > 1:
            doubles.append(effect)
        elif effect.offset < heads.get(effect.topic, 0):
            misordered.append(effect)
        else:
            heads[effect.topic] = effect.offset
    missing = [
        (topic, offset)
        for topic, events in log.items()
        for offset in events
        if not counts[topic, offset]
    ]
    return Found(len(effects), doubles, missing, foreign, misordered)

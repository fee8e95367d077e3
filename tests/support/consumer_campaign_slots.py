"""What a campaign of consumers is to do, and who is to die where, for each subscription."""

import random
from collections import deque
from collections.abc import Collection, Sequence
from typing import NamedTuple

from support.consumer_campaign_draw import Subject, points_of
from support.consumer_campaign_plan import Point
from support.consumer_campaign_tally import SubjectTally


class Wanted(NamedTuple):
    """What a campaign is to do.

    Args:
        subjects: names of subscriptions.
        kills: of consumers of each, at least.
        aggregators: kills of the aggregator, at least.
        points: where consumers of each subscription must have died, if they may die there.
    """

    subjects: Sequence[str]
    kills: int
    aggregators: int
    points: Collection[Point] = tuple(Point)


class Slots:
    """The consumers of one subscription.

    Args:
        subject: the subscription.
        target: the database of the consumers.
        tally: of the subscription.
        chance: decides.
        wanted: of the campaign.
    """

    def __init__(
        self,
        subject: Subject,
        target: str,
        tally: SubjectTally,
        chance: random.Random,
        wanted: Wanted,
    ) -> None:
        self.subject = subject
        self.target = target
        self.tally = tally
        self.chance = chance
        self._kills = wanted.kills
        self._missing = {*wanted.points}.intersection(points_of(subject.kind))
        # What must be is done first.
        self._deck = deque(chance.sample(sorted(self._missing), len(self._missing)))

    @property
    def has_enough(self) -> bool:
        """Whether enough have died, everywhere where they must."""
        return self.tally.kills.total() >= self._kills and not self._missing

    def next_point(self) -> Point:
        """Where the next is to die: the points in turn, shuffled each time."""
        if not self._deck:
            points = points_of(self.subject.kind)
            self._deck.extend(self.chance.sample(points, len(points)))
        return self._deck.popleft()

    def died(self, point: Point, wanted: Point) -> None:
        """Note that one has died at a point; it was to die at the other one."""
        self.tally.kills[point] += 1
        self._missing.discard(point)
        if wanted in self._missing:
            self._deck.appendleft(wanted)

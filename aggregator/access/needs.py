"""What a route needs: a kind of right, and whether an entry has any of that kind."""

from enum import Enum, auto

from aggregator.access.entries import Entry


class Need(Enum):
    """The kind of right that a route needs."""

    NOTHING = auto()
    """It tells nothing about data."""
    PUBLISH = auto()
    READ = auto()
    SUBSCRIBE = auto()
    METRICS = auto()
    COUNTS = auto()
    """Metrics, or the topics that may be read."""

    def is_met(self, entry: Entry) -> bool:
        """Return whether an entry may do anything of this kind at all."""
        match self:
            case Need.NOTHING:
                return True
            case Need.PUBLISH:
                return entry.may_publish_anything
            case Need.READ:
                return entry.may_read_anything
            case Need.SUBSCRIBE:
                return entry.may_subscribe_anything
            case Need.METRICS:
                return entry.may_metrics
            case Need.COUNTS:
                return entry.may_metrics or entry.may_read_anything

    @property
    def in_words(self) -> str:
        """What the right allows, behind "may not"."""
        return _IN_WORDS[self]


_IN_WORDS = {
    Need.NOTHING: "do this",
    Need.PUBLISH: "publish",
    Need.READ: "read events",
    Need.SUBSCRIBE: "use subscriptions",
    Need.METRICS: "read metrics",
    Need.COUNTS: "read counts",
}

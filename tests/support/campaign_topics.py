"""What a crash campaign knows of one topic of a subscription, and the law of its counts."""

from collections import Counter
from typing import Any

from support.campaign_leases import HeldLease
from support.campaign_record import Broken

COUNTS = ("head", "start", "acknowledged", "dead", "leased", "waiting", "expired", "redelivered")


class TopicRecord:
    """What is known of one topic of a subscription."""

    def __init__(self) -> None:
        self.acked: set[int] = set()
        """Acknowledged, as an answer says."""
        self.dead: set[int] = set()
        """Dead, as an answer or a list of dead letters says."""
        self.may_be_acked: Counter[int] = Counter()
        """Settles that were sent with it and may be done, or are."""
        self.may_be_dead: set[int] = set()
        self.delivered: dict[int, int] = {}
        """Deliveries that count, at the least."""
        self.last: dict[int, HeldLease] = {}
        """The last lease with it."""
        self.floor = 0
        """With an order: everything up to here was settled when something behind it was given."""
        self.passed: set[int] = set()
        """The same of offsets above the floor."""
        self.claimed: set[int] = set()
        """What was passed, and that nobody here has settled."""
        self.redelivered = 0
        """Deliveries after the first."""
        self.handed_back = 0
        """Those of them that may have been released."""

    def was_not_acked(self, offset: int) -> None:
        """A settle with it turns out not to have been done."""
        self.may_be_acked[offset] -= 1
        if not self.may_be_acked[offset]:
            del self.may_be_acked[offset]


def check_law(counts: dict[str, Any]) -> None:
    """The second law of conservation, and that the lag is what it says."""
    settled, open_ = counts["acknowledged"] + counts["dead"], counts["leased"] + counts["waiting"]
    lag = counts["lag"]
    fits = (
        counts["head"] - counts["start"] == settled + open_
        and min(counts[name] for name in COUNTS) >= 0
        and (counts["start"], counts["expired"]) == (0, 0)
        and lag["events"] == open_
        and (lag["seconds"] >= 0 if open_ else lag["seconds"] == 0)
    )
    if not fits:
        raise Broken(f"the counts of a subscription do not fit: {counts}")

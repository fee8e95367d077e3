"""What the consumers of one subscription were given and told: the judge of its guarantees.

It knows each lease that was answered, and no other: one whose answer was lost may hold anything for
a while. A settle without an answer may be done or not until it is answered. What is found broken is
broken whatever those did.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from support.campaign_leases import HeldLease, Place, Settle
from support.campaign_record import Broken, source_of
from support.campaign_tally import Tally
from support.campaign_topics import TopicRecord

MARGIN_S = 0.05
"""Clocks, and the rounding of times, may differ by so much."""


class Deliveries:
    """The deliveries of a subscription under way; raises `Broken` at the first that does not fit.

    Args:
        name: of the subscription.
        settings: as they were sent, with `order`, `source` and `max_deliveries` in them.
        log: each topic as it was read so far: the event id at offset n + 1.
        tally: kept up to date on the way.
        now: the clock, in seconds.
    """

    def __init__(
        self,
        name: str,
        settings: dict[str, Any],
        log: Mapping[str, Sequence[str]],
        tally: Tally,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.settings = settings
        self.in_order = settings["order"] == "topic"
        self._log = log
        self._tally = tally
        self._now = now
        self._topics: defaultdict[str, TopicRecord] = defaultdict(TopicRecord)
        self._live: list[HeldLease] = []
        self._unread: dict[Place, str] = {}

    def leased(self, lease: HeldLease) -> None:
        """A lease was answered."""
        most: int = self.settings["max_deliveries"]
        for (topic, offset), delivery in lease.deliveries.items():
            of_topic = self._topics[topic]
            if offset in of_topic.acked or offset in of_topic.dead:
                self._tally.came_again += 1
                raise self._broken(f"{topic}/{offset} is settled, and comes again")
            if delivery <= of_topic.delivered.get(offset, 0) or delivery > most:
                before = of_topic.delivered.get(offset, 0)
                raise self._broken(
                    f"{topic}/{offset} was delivered {before} times, {most} are the most, and now "
                    f"it is said to be delivery {delivery}"
                )
            if delivery == most and len(lease.deliveries) > 1:
                raise self._broken(f"the last delivery of {topic}/{offset} is not alone in a lease")
        self._check_holders(lease)
        for topic, offsets in lease.by_topic():
            if offsets != sorted(set(offsets)):
                raise self._broken(f"a lease has offsets of {topic} in another order: {offsets}")
            if self.in_order:
                self._check_order(topic, offsets)
        self._note(lease)

    def _check_holders(self, lease: HeldLease) -> None:
        """No event, or with an order no topic, is in a lease that surely has not run out."""
        topics = {topic for topic, _ in lease.deliveries}
        self._live = [one for one in self._live if one.held and one.until_s > lease.given_s]
        for other in self._live:
            shared = [
                place
                for place in other.held
                if (place[0] in topics if self.in_order else place in lease.deliveries)
            ]
            if shared and lease.given_s + MARGIN_S < other.until_s:
                left_s = other.until_s - lease.given_s
                raise self._broken(
                    f"{len(shared)} events, among them {shared[0]}, are held by {other.consumer} "
                    f"for {left_s:.3f} s more, and their topic was given to {lease.consumer}"
                )

    def _check_order(self, topic: str, offsets: Sequence[int]) -> None:
        of_topic = self._topics[topic]
        first = offsets[0]
        if first <= of_topic.floor or not of_topic.passed.isdisjoint(offsets):
            raise self._broken(f"{topic}/{first} comes after an event behind it was given")
        given = set(offsets)
        for offset in range(of_topic.floor + 1, offsets[-1]):
            if offset not in given:
                of_topic.passed.add(offset)
                if not of_topic.may_be_acked[offset] and offset not in of_topic.dead:
                    of_topic.claimed.add(offset)
        of_topic.floor = first - 1
        of_topic.passed = {offset for offset in of_topic.passed if offset > of_topic.floor}

    def _note(self, lease: HeldLease) -> None:
        for (topic, offset), delivery in lease.deliveries.items():
            of_topic = self._topics[topic]
            of_topic.delivered[offset] = delivery
            of_topic.last[offset] = lease
            of_topic.redelivered += delivery > 1
            if delivery == self.settings["max_deliveries"]:
                of_topic.may_be_dead.add(offset)
        for place, event_id in lease.event_ids.items():
            self._unread[place] = event_id
            if self.settings["source"] not in {None, source_of(event_id)}:
                raise self._broken(f"{place} has the source {source_of(event_id)!r}")
        self._live.append(lease)
        self._tally.leases += 1
        self._tally.delivered += len(lease.deliveries)
        self._tally.redelivered += sum(each > 1 for each in lease.deliveries.values())

    def sending(self, lease: HeldLease, settle: Settle) -> None:
        """A settle goes out for the first time; what it names is no longer counted on."""
        if self.in_order:
            settle.behind = [
                each
                for place in settle.retry
                for each in lease.held_behind(place)
                if each not in settle.release
            ]
        for topic, offset in (*settle.release, *settle.behind):
            of_topic = self._topics[topic]
            of_topic.delivered[offset] -= 1
            of_topic.handed_back += lease.deliveries[topic, offset] > 1
        for topic, offset in settle.ack:
            self._topics[topic].may_be_acked[offset] += 1
        for topic, offset in settle.dead:
            self._topics[topic].may_be_dead.add(offset)
        for named in (settle.ack, settle.retry, settle.dead, settle.release, settle.behind):
            for place in named:
                lease.held.pop(place, None)
        settle.ends = not lease.held

    def settled(
        self, lease: HeldLease, settle: Settle, sent_s: float, answer: dict[str, Any]
    ) -> None:
        """A settle was answered 200; it may have been before."""
        told = {name: answer[name] for name in ("acknowledged", "retried", "dead", "released")}
        if settle.answer is None:
            self._check_counts(settle, told)
        elif settle.settles and settle.answer != told:
            raise self._broken(f"a settle answered {settle.answer} is now answered {answer}")
        else:
            self._tally.settled_again += 1
        settle.answer = told
        if (answer["expires_in_ms"] is None) != (not lease.held):
            raise self._broken(f"{len(lease.held)} events are left, and the answer is {answer}")
        if answer["expires_in_ms"] is not None:
            lease.until_s = max(lease.until_s, sent_s + answer["expires_in_ms"] / 1000)
            if lease not in self._live:
                self._live.append(lease)
        all_failed = told["dead"] == len(settle.retry) + len(settle.dead)
        dead = (*settle.dead, *settle.retry) if all_failed else settle.dead
        for topic, offset in (*settle.ack, *dead):
            if self._topics[topic].last[offset] is not lease:
                self._tally.came_again += 1
                raise self._broken(f"{topic}/{offset} was given to another, and is settled by both")
        for topic, offset in settle.ack:
            self._topics[topic].acked.add(offset)
        for topic, offset in dead:
            self._topics[topic].dead.add(offset)
        self._tally.settles += 1

    def _check_counts(self, settle: Settle, told: dict[str, int]) -> None:
        failed = len(settle.retry) + len(settle.dead)
        if (
            told["acknowledged"] != len(settle.ack)
            or told["retried"] + told["dead"] != failed
            or told["dead"] < len(settle.dead)
            or told["released"] != len(settle.release) + len(settle.behind)
        ):
            raise self._broken(f"a settle of {settle} is answered {told}")

    def refused(self, lease: HeldLease, settle: Settle, answer: dict[str, Any]) -> None:
        """A settle was answered 409."""
        if answer.get("code") != "lease_lost":
            raise self._broken(f"a settle is answered {answer}")
        left_s = lease.until_s - self._now()
        if left_s > MARGIN_S:
            raise self._broken(f"a lease is lost {left_s:.3f} s before it runs out: {answer}")
        if settle.ends and settle.settles:
            # Had it been done, it were the last one of its label, and answered as it was.
            if settle.answer is not None:
                raise self._broken(f"a settle that was done is now answered {answer}")
            for topic, offset in settle.ack:
                self._topics[topic].was_not_acked(offset)
        lease.held.clear()
        self._tally.leases_lost += 1

    def unanswered(self) -> None:
        """A settle got no answer, and is sent again."""
        self._tally.settles_unanswered += 1

    def _broken(self, sentence: str) -> Broken:
        return Broken(f"subscription {self.name}: {sentence}")

"""What a crash campaign holds the counts and the dead letters of a subscription against."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from support.campaign_deliveries import MARGIN_S, Deliveries
from support.campaign_record import source_of
from support.campaign_topics import COUNTS, check_law


class SubscriptionRecord(Deliveries):
    """The deliveries of a subscription, and what must be found of them; raises `Broken`."""

    def check_read(self) -> None:
        """Compare what was delivered with what was read of the log by now."""
        unread = {}
        for (topic, offset), event_id in self._unread.items():
            log = self._log.get(topic, ())
            if offset > len(log):
                unread[topic, offset] = event_id
            elif log[offset - 1] != event_id:
                raise self._broken(f"{topic}/{offset} is {log[offset - 1]!r}, given {event_id!r}")
        self._unread = unread

    def known_dead(self) -> dict[str, tuple[set[int], set[int]]]:
        """Per topic, what is dead for sure and what must be settled somehow; see `check_dead`."""
        return {
            topic: (set(of_topic.dead), set(of_topic.claimed))
            for topic, of_topic in self._topics.items()
        }

    def check_dead(
        self, known: dict[str, tuple[set[int], set[int]]], letters: Iterable[dict[str, Any]]
    ) -> None:
        """Check all the dead letters, and what was passed over.

        Args:
            known: what was known before they were asked for.
            letters: as they are listed.
        """
        listed: defaultdict[str, set[int]] = defaultdict(set)
        for letter in letters:
            topic, offset = letter["topic"], letter["offset"]
            listed[topic].add(offset)
            of_topic = self._topics[topic]
            if offset in of_topic.acked:
                raise self._broken(f"{topic}/{offset} is acknowledged, and dead: {letter}")
            by_count = letter["deliveries"] >= self.settings["max_deliveries"]
            if not by_count and offset not in of_topic.may_be_dead:
                raise self._broken(f"{topic}/{offset} is dead without a reason: {letter}")
            of_topic.dead.add(offset)
        for topic, (dead, claimed) in known.items():
            if missing := dead - listed[topic]:
                raise self._broken(f"{topic}/{min(missing)} was dead, and is no dead letter now")
            for offset in sorted(claimed):
                if not self._is_settled(topic, offset):
                    self._tally.passed_over += 1
                    raise self._broken(f"{topic}/{offset} was passed over")
                if offset <= len(self._log.get(topic, ())):
                    self._topics[topic].claimed.discard(offset)

    def _is_settled(self, topic: str, offset: int) -> bool:
        of_topic = self._topics[topic]
        log = self._log.get(topic, ())
        return (
            offset in of_topic.acked
            or offset in of_topic.dead
            or of_topic.may_be_acked[offset] > 0
            or offset > len(log)
            or self.settings["source"] not in {None, source_of(log[offset - 1])}
        )

    def least(self) -> dict[str, dict[str, int]]:
        """What an answer of its status that is asked for from now on must hold at the least."""
        return {
            topic: {
                "acknowledged": len(of_topic.acked),
                "dead": len(of_topic.dead),
                "redelivered": of_topic.redelivered,
            }
            for topic, of_topic in self._topics.items()
        }

    def check_status(
        self, least: dict[str, dict[str, int]], asked_s: float, status: dict[str, Any]
    ) -> None:
        """Check an answer of its status against what was certain before it was asked for."""
        topics = status["topics"]
        for counts in (status, *topics.values()):
            check_law(counts)
        for name in COUNTS:
            if status[name] != sum(counts[name] for counts in topics.values()):
                raise self._broken(f"{name} is not the sum of the topics: {status}")
        if status["state"] != "active":
            raise self._broken(f"it is {status['state']}: {status['reason']}")
        held = Counter(
            topic
            for lease in self._live
            if lease.given_s < asked_s and lease.until_s > self._now() + MARGIN_S
            for topic, _ in lease.held
        )
        for topic, counts in topics.items():
            of_topic = self._topics[topic]
            lows = {"redelivered": 0, **least.get(topic, {}), "leased": held[topic]}
            # Some may have been released since.
            lows["redelivered"] -= of_topic.handed_back
            if low := [name for name, low in lows.items() if counts[name] < low]:
                raise self._broken(f"{topic} has {counts}, and {low[0]} must be {lows[low[0]]}")
            most = len(of_topic.may_be_acked)
            if self.settings["source"] is None and counts["acknowledged"] > most:
                raise self._broken(f"{topic} has {counts}, and only {most} were acknowledged")
        self._tally.statuses += 1

    def check_end(self, status: dict[str, Any]) -> None:
        """Check that everything is settled, after the log and the dead letters were read."""
        for topic, counts in status["topics"].items():
            head = counts["head"]
            over = [n for n in range(1, head + 1) if not self._is_settled(topic, n)]
            if over:
                self._tally.passed_over += len(over)
                raise self._broken(f"{len(over)} events were passed over, first {topic}/{over[0]}")
            dead = len(self._topics[topic].dead)
            if head != len(self._log[topic]) or (counts["dead"], counts["waiting"]) != (dead, 0):
                raise self._broken(f"{topic} has {dead} dead letters at the end, and {counts}")
            if counts["acknowledged"] != head - dead:
                raise self._broken(f"{topic} is not settled at the end: {counts}")
            self._tally.dead += dead

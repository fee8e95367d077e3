"""What the judge of deliveries in a crash campaign lets pass, and what it does not."""

from typing import Any

import pytest
from support.campaign_leases import HeldLease, Settle
from support.campaign_record import Broken
from support.campaign_subscription import SubscriptionRecord
from support.campaign_tally import Tally
from support.campaign_topics import check_law

TOPIC = "orders"
LOG = {TOPIC: [f"e-{number}" for number in range(1, 10)]}
LEASE_S = 10.0


class Judged:
    """A judge at a time that the test decides."""

    def __init__(self, log: dict[str, list[str]] = LOG, **settings: Any) -> None:
        self.now_s = 100.0
        given = {"order": "topic", "source": None, "max_deliveries": 3, **settings}
        self.tally = Tally("sqlite", 1, "0")
        self.record = SubscriptionRecord("billing", given, log, self.tally, lambda: self.now_s)

    def lease(self, *offsets: int, delivery: int = 1, consumer: str = "a") -> HeldLease:
        """A lease is answered now."""
        lease = HeldLease(
            token="token",
            consumer=consumer,
            asked_s=self.now_s,
            given_s=self.now_s,
            until_s=self.now_s + LEASE_S,
            deliveries={(TOPIC, offset): delivery for offset in offsets},
            event_ids={(TOPIC, offset): f"e-{offset}" for offset in offsets},
        )
        self.record.leased(lease)
        return lease

    def settle(self, lease: HeldLease, **parts: list[int]) -> Settle:
        """A settle is sent."""
        settle = Settle()
        for name, offsets in parts.items():
            setattr(settle, name, [(TOPIC, n) for n in offsets])
        self.record.sending(lease, settle)
        return settle

    def answer(self, lease: HeldLease, settle: Settle, **changes: Any) -> None:
        """It is answered as it should be, but for some changes."""
        answer = {
            "acknowledged": len(settle.ack),
            "retried": len(settle.retry),
            "dead": len(settle.dead),
            "released": len(settle.release) + len(settle.behind),
            "expires_in_ms": (lease.until_s - self.now_s) * 1000 if lease.held else None,
        }
        self.record.settled(lease, settle, self.now_s, answer | changes)

    def ack(self, lease: HeldLease, *offsets: int) -> Settle:
        """A settle is sent and answered."""
        settle = self.settle(lease, ack=list(offsets))
        self.answer(lease, settle)
        return settle

    def status(self, **changes: int) -> dict[str, Any]:
        """What GET would answer."""
        counts: dict[str, Any] = dict.fromkeys(
            ("start", "acknowledged", "dead", "leased", "expired", "redelivered"), 0
        )
        counts |= {"head": 9} | changes
        settled = counts["acknowledged"] + counts["dead"]
        counts["waiting"] = counts["head"] - settled - counts["leased"]
        left = counts["head"] - settled
        counts["lag"] = {"events": left, "seconds": 1.0 if left else 0.0}
        return {**counts, "state": "active", "reason": None, "topics": {TOPIC: counts}}


@pytest.fixture
def judged() -> Judged:
    return Judged()


def test_what_fits_is_not_found_fault_with(judged: Judged) -> None:
    first = judged.lease(1, 2, 3)
    again = judged.ack(first, 1)
    judged.answer(first, again)
    judged.answer(first, judged.settle(first, retry=[2]))
    second = judged.lease(2, delivery=2)
    judged.now_s += LEASE_S
    third = judged.lease(2, delivery=3, consumer="b")
    judged.record.refused(second, judged.settle(second, ack=[2]), {"code": "lease_lost"})
    judged.answer(third, judged.settle(third, retry=[2]), retried=0, dead=1)
    fourth = judged.lease(*range(3, 10))
    judged.ack(fourth, *range(3, 10))
    record = judged.record
    record.check_read()
    record.check_dead(record.known_dead(), [{"topic": TOPIC, "offset": 2, "deliveries": 3}])
    status = judged.status(acknowledged=8, dead=1, redelivered=2)
    record.check_status(record.least(), judged.now_s, status)
    record.check_end(status)
    assert (judged.tally.came_again, judged.tally.passed_over) == (0, 0)
    assert (judged.tally.dead, judged.tally.settled_again, judged.tally.redelivered) == (1, 1, 2)


def test_an_acknowledged_event_that_comes_again_is_found_out(judged: Judged) -> None:
    judged.ack(judged.lease(1, 2), 1, 2)
    with pytest.raises(Broken, match="orders/2 is settled, and comes again"):
        judged.lease(2, delivery=2)
    assert judged.tally.came_again == 1


def test_an_event_given_to_another_before_its_ack_is_answered_is_found_out() -> None:
    judged = Judged(order="none")
    lease = judged.lease(1)
    settle = judged.settle(lease, ack=[1])
    judged.lease(1, delivery=2, consumer="b")
    with pytest.raises(Broken, match="orders/1 was given to another, and is settled by both"):
        judged.answer(lease, settle)


@pytest.mark.parametrize("order", ["topic", "none"])
def test_an_event_that_two_hold_is_found_out(order: str) -> None:
    judged = Judged(order=order)
    judged.lease(1, 2)
    judged.now_s += LEASE_S - 1
    with pytest.raises(Broken, match=r"are held by a for 1\.000 s more, and .* given to b"):
        judged.lease(2, delivery=2, consumer="b")


def test_a_topic_that_two_hold_is_found_out_if_it_has_an_order(judged: Judged) -> None:
    judged.lease(1, 2)
    with pytest.raises(Broken, match="are held by a"):
        judged.lease(3, consumer="b")


def test_an_extended_lease_is_held_for_longer(judged: Judged) -> None:
    lease = judged.lease(1)
    judged.answer(lease, judged.settle(lease), expires_in_ms=20_000)
    judged.now_s += LEASE_S + 1
    with pytest.raises(Broken, match="are held by a"):
        judged.lease(1, delivery=2, consumer="b")


def test_an_event_that_comes_after_a_later_one_is_found_out(judged: Judged) -> None:
    judged.ack(judged.lease(3), 3)
    with pytest.raises(Broken, match="orders/2 comes after an event behind it was given"):
        judged.lease(2)


def test_what_was_passed_over_is_found_out(judged: Judged) -> None:
    judged.ack(judged.lease(1), 1)
    judged.ack(judged.lease(3), 3)
    record = judged.record
    with pytest.raises(Broken, match="orders/2 was passed over"):
        record.check_dead(record.known_dead(), [])
    assert judged.tally.passed_over == 1


@pytest.mark.parametrize(("first", "letters"), [("e-1", [1]), ("e-1w", [])])
def test_what_was_passed_over_may_be_dead_or_left_out_by_the_filter(
    first: str, letters: list[int]
) -> None:
    judged = Judged({TOPIC: [first, "e-2"]}, source="shop")
    judged.ack(judged.lease(2), 2)
    record = judged.record
    listed = [{"topic": TOPIC, "offset": offset, "deliveries": 3} for offset in letters]
    record.check_dead(record.known_dead(), listed)


def test_an_event_of_another_source_is_found_out() -> None:
    with pytest.raises(Broken, match="has the source 'shop'"):
        Judged(source="web").lease(1)


def test_another_event_than_the_log_has_is_found_out() -> None:
    judged = Judged({TOPIC: ["another"]})
    judged.lease(1)
    with pytest.raises(Broken, match="orders/1 is 'another', given 'e-1'"):
        judged.record.check_read()


@pytest.mark.parametrize("delivery", [1, 4])
def test_a_delivery_that_is_counted_wrong_is_found_out(judged: Judged, delivery: int) -> None:
    judged.lease(1)
    judged.now_s += LEASE_S
    with pytest.raises(Broken, match="was delivered 1 times, 3 are the most"):
        judged.lease(1, delivery=delivery)


def test_what_was_released_is_not_counted(judged: Judged) -> None:
    lease = judged.lease(1, 2)
    judged.answer(lease, judged.settle(lease, release=[1, 2]))
    judged.lease(1, 2)


def test_a_last_delivery_in_company_is_found_out(judged: Judged) -> None:
    with pytest.raises(Broken, match="the last delivery of orders/1 is not alone"):
        judged.lease(1, 2, delivery=3)


def test_a_lease_lost_too_early_is_found_out(judged: Judged) -> None:
    lease = judged.lease(1)
    judged.now_s += LEASE_S - 1
    with pytest.raises(Broken, match=r"a lease is lost 1\.000 s before it runs out"):
        judged.record.refused(lease, judged.settle(lease, ack=[1]), {"code": "lease_lost"})


def test_a_settle_that_was_done_and_is_refused_is_found_out(judged: Judged) -> None:
    lease = judged.lease(1)
    settle = judged.ack(lease, 1)
    judged.now_s += LEASE_S
    with pytest.raises(Broken, match="a settle that was done is now answered"):
        judged.record.refused(lease, settle, {"code": "lease_lost"})


@pytest.mark.parametrize("name", ["acknowledged", "retried", "dead", "released", "expires_in_ms"])
def test_a_settle_that_is_answered_wrong_is_found_out(judged: Judged, name: str) -> None:
    lease = judged.lease(1, 2)
    settle = judged.settle(lease, ack=[1])
    with pytest.raises(Broken, match=r"is answered|are left"):
        judged.answer(lease, settle, **{name: None if name == "expires_in_ms" else 3})


def test_a_repeated_settle_that_is_answered_otherwise_is_found_out(judged: Judged) -> None:
    lease = judged.lease(1, 2)
    settle = judged.ack(lease, 1)
    with pytest.raises(Broken, match="is now answered"):
        judged.answer(lease, settle, acknowledged=0)


@pytest.mark.parametrize(
    ("letters", "sentence"),
    [
        ([(1, 3), (3, 3)], "orders/1 is acknowledged, and dead"),
        ([(2, 1), (3, 3)], "orders/2 is dead without a reason"),
        ([], "orders/3 was dead, and is no dead letter now"),
    ],
)
def test_dead_letters_that_do_not_fit_are_found_out(
    judged: Judged, letters: list[tuple[int, int]], sentence: str
) -> None:
    lease = judged.lease(1, 2, 3)
    judged.answer(lease, judged.settle(lease, ack=[1], dead=[3]))
    record = judged.record
    listed = [{"topic": TOPIC, "offset": n, "deliveries": times} for n, times in letters]
    with pytest.raises(Broken, match=sentence):
        record.check_dead(record.known_dead(), listed)


@pytest.mark.parametrize(
    "counts",
    [
        {"acknowledged": 1},
        {"acknowledged": 3},
        {"acknowledged": 2, "leased": 0},
        {"acknowledged": 2, "leased": 1, "head": 2},
    ],
)
def test_counts_that_do_not_fit_are_found_out(judged: Judged, counts: dict[str, int]) -> None:
    judged.ack(judged.lease(1, 2, 3), 1, 2)
    record = judged.record
    record.check_status(record.least(), 101.0, judged.status(acknowledged=2, leased=1))
    with pytest.raises(Broken, match=r"must be|only 2 were|do not fit"):
        record.check_status(record.least(), 101.0, judged.status(**({"leased": 1} | counts)))


def test_an_end_at_which_events_are_left_is_found_out(judged: Judged) -> None:
    judged.ack(judged.lease(*range(1, 9)), *range(1, 9))
    with pytest.raises(Broken, match="1 events were passed over, first orders/9"):
        judged.record.check_end(judged.status(acknowledged=9))


@pytest.mark.parametrize("name", ["head", "waiting", "expired"])
def test_counts_against_the_law_are_found_out(judged: Judged, name: str) -> None:
    counts = judged.status(acknowledged=2)
    check_law(counts)
    counts[name] += 1
    with pytest.raises(Broken, match="do not fit"):
        check_law(counts)

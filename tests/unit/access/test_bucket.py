"""A token bucket, held against another way to tell what it must allow."""

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from aggregator.access.bucket import Bucket

SECOND_NS = 1_000_000_000
QUOTAS = st.one_of(st.integers(1, 10), st.integers(1, 2**63 - 1))


@dataclass
class Tank:
    """What a bucket is, in fractions: a tank into which the quota flows in its window."""

    quota: int
    window_s: int
    level: Fraction

    def flow(self, ns: int) -> None:
        share = Fraction(ns, self.window_s * SECOND_NS)
        self.level = min(Fraction(self.quota), self.level + self.quota * share)

    def gives(self, amount: int) -> bool:
        return amount <= self.level or self.level == self.quota or not amount


@given(
    QUOTAS,
    st.sampled_from([1, 86_400]),
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 3 * SECOND_NS), st.integers(0, 10**15)),
            st.one_of(st.integers(0, 20), st.integers(0, 2**63 - 1)),
        ),
        max_size=30,
    ),
)
def test_bucket_gives_what_a_tank_does_and_tells_how_long_to_wait(
    quota: int, window_s: int, steps: list[tuple[int, int]]
) -> None:
    now_ns = 12_345
    bucket = Bucket(quota, window_s, now_ns)
    tank = Tank(quota, window_s, Fraction(quota))
    for later_ns, amount in steps:
        now_ns += later_ns
        tank.flow(later_ns)
        wait_ns = bucket.wait_ns(amount, now_ns)
        assert (wait_ns == 0) == tank.gives(amount)
        assert bucket.left(now_ns) == max(0, tank.level.__floor__())
        assert bucket.is_full(now_ns) == (tank.level == quota)
        if wait_ns:
            # Then, and not a nanosecond earlier.
            sooner = Tank(quota, window_s, tank.level)
            sooner.flow(wait_ns - 1)
            assert not sooner.gives(amount)
            sooner.flow(1)
            assert sooner.gives(amount)
        else:
            bucket.take(amount)
            tank.level -= amount


@given(QUOTAS, st.lists(st.tuples(st.integers(0, 10**10), st.integers(1, 100)), max_size=50))
def test_what_is_given_in_a_span_is_at_most_what_flows_in_and_one_full_bucket_and_a_batch(
    quota: int, steps: list[tuple[int, int]]
) -> None:
    bucket = Bucket(quota, 1, 0)
    now_ns = given_in_all = largest = 0
    for later_ns, amount in steps:
        now_ns += later_ns
        if not bucket.wait_ns(amount, now_ns):
            bucket.take(amount)
            given_in_all += amount
            largest = max(largest, amount)
    assert given_in_all <= max(quota, largest) + Fraction(now_ns * quota, SECOND_NS)


def test_a_batch_larger_than_the_bucket_leaves_it_in_debt() -> None:
    bucket = Bucket(10, 1, 0)
    bucket.take(1)
    assert bucket.wait_ns(50, 0) == SECOND_NS // 10
    assert bucket.wait_ns(50, SECOND_NS // 10) == 0
    bucket.take(50)
    assert (bucket.left(SECOND_NS // 10), bucket.wait_ns(1, SECOND_NS // 10)) == (
        0,
        41 * SECOND_NS // 10,
    )


def test_nothing_is_always_given() -> None:
    bucket = Bucket(1, 1, 0)
    bucket.take(100)
    assert bucket.wait_ns(0, 0) == 0


def test_another_quota_leaves_the_time_until_it_is_full() -> None:
    bucket = Bucket(1_000_000, 1, 0)
    bucket.take(3_000_000)
    bucket.set_quota(1, SECOND_NS)
    assert bucket.wait_ns(1, SECOND_NS) == 2 * SECOND_NS
    bucket.set_quota(500, SECOND_NS)
    assert bucket.wait_ns(500, SECOND_NS) == 2 * SECOND_NS

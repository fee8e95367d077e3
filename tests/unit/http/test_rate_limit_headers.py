"""The headers of a rate limit are structured fields."""

import pytest

from aggregator.access.errors import OverLimit, Quota
from aggregator.http.rate_limit_headers import rate_limit_headers


@pytest.mark.parametrize(
    ("quota", "policy"),
    [
        (Quota("events", 100, 1, None), '"events";q=100;w=1'),
        (Quota("bytes", 5, 1, "content-bytes"), '"bytes";q=5;qu="content-bytes";w=1'),
        (
            Quota("streams", 0, None, "concurrent-requests"),
            '"streams";q=0;qu="concurrent-requests"',
        ),
        # The largest integer that they may have.
        (Quota("events", 2**63 - 1, 1, None), '"events";q=999999999999999;w=1'),
    ],
)
def test_the_quota_and_what_is_left_of_it_are_told(quota: Quota, policy: str) -> None:
    headers = rate_limit_headers(OverLimit("over", quota, left=2**60, retry_after_s=3))
    assert headers == {
        "RateLimit-Policy": policy,
        "RateLimit": f'"{quota.name}";r=999999999999999;t=3',
    }

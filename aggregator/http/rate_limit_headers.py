"""The headers of a rate limit, after draft-ietf-httpapi-ratelimit-headers-10."""

from aggregator.access.errors import OverLimit

_MAX_INTEGER = 999_999_999_999_999
"""The largest integer of a structured field (RFC 9651, 3.3.1)."""


def rate_limit_headers(error: OverLimit) -> dict[str, str]:
    """Return `RateLimit-Policy`, which has the quota, and `RateLimit`, which has what is left."""
    quota = error.quota
    policy = f'"{quota.name}";q={_integer(quota.amount)}'
    if quota.unit is not None:
        policy += f';qu="{quota.unit}"'
    if quota.window_s is not None:
        policy += f";w={quota.window_s}"
    left = f'"{quota.name}";r={_integer(error.left)};t={_integer(error.retry_after_s)}'
    return {"RateLimit-Policy": policy, "RateLimit": left}


def _integer(value: int) -> int:
    return min(value, _MAX_INTEGER)

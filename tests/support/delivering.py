"""A batch of two events, what becomes of it, and sending it."""

import aiohttp

from publisher.events import EncodedEvent
from publisher.response import Outcome, Verdict
from publisher.retry import Retry, RetryPolicy, publish_batch
from support.scripted import encoded

BATCH = [encoded("a"), encoded("b")]
BODY = b"\n".join(event.line for event in BATCH)
STORED: list[Outcome] = [
    Verdict("orders", "a", "stored", 1),
    Verdict("orders", "b", "stored", 2),
]
PATIENT = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=60.0)
HASTY = RetryPolicy(first_wait_s=0.001, max_wait_s=0.01, deadline_s=1.0)


async def publish(
    url: str,
    policy: RetryPolicy = PATIENT,
    told: list[Retry] | None = None,
    batch: list[EncodedEvent] = BATCH,
) -> list[Outcome]:
    """Send a batch over a session of its own; `told` keeps the tries that failed."""
    retries = [] if told is None else told
    async with aiohttp.ClientSession() as session:
        return await publish_batch(session, url, batch, policy=policy, on_retry=retries.append)

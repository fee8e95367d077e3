"""What an open loop sends to an aggregator, and where both of them run."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from support.events import published
from support.processes import Aggregator
from support.sluggish import post

_NUMBER = b"0000000000"


class Bodies(Iterator[bytes]):
    """Publishes without end, each with so many new events of one topic."""

    def __init__(self, topic: str, events: int) -> None:
        batch = [
            published(topic=topic, event_id=f"{_NUMBER.decode()}-{each}") for each in range(events)
        ]
        self._template = post(json.dumps(batch).encode())
        self._made = 0

    def __next__(self) -> bytes:
        self._made += 1
        return self._template.replace(_NUMBER, b"%010d" % self._made)


def address(aggregator: Aggregator) -> tuple[str, int]:
    """Where it listens."""
    url = urlsplit(aggregator.url)
    assert url.hostname is not None
    assert url.port is not None
    return url.hostname, url.port


@contextmanager
def pinned_apart(aggregator: Aggregator) -> Iterator[None]:
    """Keep an aggregator and this process on cores of their own, where there are two.

    What the load costs would otherwise be taken from what it measures.
    """
    ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if len(ours) < 2:
        yield
        return
    first, *others = sorted(ours)
    for thread in Path(f"/proc/{aggregator.process.pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {first})
    os.sched_setaffinity(0, others)
    yield
    os.sched_setaffinity(0, ours)

"""An aggregator in memory, which knows of each line all that stood before it, by its id alone."""

import hashlib
import json
from collections import defaultdict
from typing import NamedTuple

from publisher.events import EncodedEvent
from publisher.response import Verdict
from publisher.ship.log_events import line_bytes

_CHAIN_DIGITS = 20
_NAME_DIGITS = 20
_MOST_HOSTS = 3
"""So many may take over a content one after another before something of it is sent."""


class _Known(NamedTuple):
    """A place in a stream: the digest of what stands before it, and that itself."""

    chain: bytes
    content: bytes


class StoredLines:
    """Keeps events by topic and id, drops duplicates, and refuses conflicts.

    The digest in an id is that of all lines up to its own, so an event tells to which bytes it
    belongs: to those before it in its stream that give this digest. An event without such a
    predecessor fails the test: lines are missing, or out of order.

    Args:
        hole_bytes: so many NULs at the start of a content may be skipped.
    """

    def __init__(self, hole_bytes: int) -> None:
        self._hole_bytes = hole_bytes
        self._events: dict[tuple[str, str], tuple[object, object]] = {}
        self._hosts: set[str] = set()
        self._ends: defaultdict[str, defaultdict[int, list[_Known]]] = defaultdict(
            lambda: defaultdict(list)
        )
        """Of each stream the places behind its lines, by their position."""
        self.streams: defaultdict[bytes, set[str]] = defaultdict(set)
        """The streams that have a line, by all that the content has up to its end."""
        self.last_s: dict[bytes, int] = {}
        """When such a line came last, in the number of requests."""
        self.requests = 0

    def add_host(self, host: str) -> None:
        """Take in that a host has begun to send: its ids may go on with those of another one."""
        self._hosts.add(host)

    def store(self, event: EncodedEvent) -> Verdict:
        """Store an event, unless it is stored.

        Raises:
            AssertionError: it is in conflict, or what stands before it is not stored.
        """
        told = json.loads(event.line)
        key = event.topic, event.event_id
        content = told["payload"], told["source"]
        if key in self._events:
            assert self._events[key] == content, f"conflict: {content} after {self._events[key]}"
            self._take_in(event.event_id, told["payload"])
            return Verdict(event.topic, event.event_id, "duplicate", 1)
        self._events[key] = content
        self._take_in(event.event_id, told["payload"])
        return Verdict(event.topic, event.event_id, "stored", len(self._events))

    def _take_in(self, event_id: str, payload: dict[str, object]) -> None:
        name, position_digits, digest = event_id.split("-")
        position = payload["position"]
        assert int(position_digits) == position
        line = line_bytes(payload)
        for known in self._before(name, int(position_digits)):
            chain = hashlib.sha256(known.chain + line).digest()
            if chain.hex()[:_CHAIN_DIGITS] == digest:
                content = known.content + line
                place = _Known(chain, content)
                if place not in self._ends[name][len(content)]:
                    self._ends[name][len(content)].append(place)
                self.streams[content].add(name)
                self.last_s[content] = self.requests
                return
        raise AssertionError(f"{event_id}, {line!r}: what stands before it is not stored")

    def _before(self, name: str, position: int) -> list[_Known]:
        """Return the places at which a line may begin."""
        found = list(self._ends[name].get(position, ())) if name in self._ends else []
        if position == 0 or position >= self._hole_bytes:
            found.append(_Known(b"", bytes(position)))
        for other in list(self._ends):
            if other != name and self._goes_on(other, name):
                found += self._before(other, position)
        return found

    def _goes_on(self, name: str, later: str, hosts: int = _MOST_HOSTS) -> bool:
        """Tell whether a stream may go on under another name: some hosts may have sent nothing."""
        following = [_of_host(host, name) for host in self._hosts] if hosts else []
        return later in following or any(
            self._goes_on(each, later, hosts - 1) for each in following
        )


def _of_host(host: str, name: str) -> str:
    return hashlib.sha256(f"{host}\0{name}".encode()).hexdigest()[:_NAME_DIGITS]

"""Entries of the tokens file: who may do what, and how much of it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from aggregator.access.patterns import Patterns

ANONYMOUS = "anonymous"
"""The name of the entry for those without a credential."""


class Digest(NamedTuple):
    """A token, by its digest.

    Args:
        sha256: the SHA-256 of the whole token.
        expires_us: the time from which it counts no more, in microseconds since the epoch.
    """

    sha256: bytes
    expires_us: int | None = None


class EntryLimits(NamedTuple):
    """Limits of an entry, for one process each; None: no limit.

    Args:
        events_per_second: events that are received.
        bytes_per_second: bytes of bodies that are received.
        streams: streams that are open.
        subscriptions: subscriptions that are there.
        new_topics_per_day: topics that are made.
    """

    events_per_second: int | None = None
    bytes_per_second: int | None = None
    streams: int | None = None
    subscriptions: int | None = None
    new_topics_per_day: int | None = None


NO_LIMITS = EntryLimits()
"""Those of an entry that has none."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry gives rights to whoever shows one of its tokens, or its certificate.

    Args:
        name: of the entry, in the log and in limits.
        digests: its tokens.
        publish: topics that events may be published to, names and patterns.
        read: topics that may be read.
        subscribe: subscriptions that may be used.
        admin: whether everything is allowed.
        metrics: whether `/metrics`, and `/stats` over all, may be read.
        source: the one source that its events may have; None: any.
        expires_us: the time from which it counts no more, in microseconds since the epoch.
        certificate: the name of a client certificate, "DNS:…", "URI:…" or "CN:…".
        limits: its limits.
    """

    name: str
    digests: tuple[Digest, ...] = ()
    publish: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    admin: bool = False
    metrics: bool = False
    source: str | None = None
    expires_us: int | None = None
    certificate: str | None = None
    limits: EntryLimits = NO_LIMITS
    publishable: Patterns = field(init=False, repr=False, compare=False)
    """The topics of `publish`. An admin may publish to others, too."""
    readable: Patterns = field(init=False, repr=False, compare=False)
    """The topics of `read`."""
    subscribable: Patterns = field(init=False, repr=False, compare=False)
    """The subscriptions of `subscribe`."""

    def __post_init__(self) -> None:
        for ready, wanted in (
            ("publishable", self.publish),
            ("readable", self.read),
            ("subscribable", self.subscribe),
        ):
            object.__setattr__(self, ready, Patterns(wanted))

    @property
    def is_admin(self) -> bool:
        """Whether everything is allowed."""
        return self.admin

    @property
    def may_metrics(self) -> bool:
        """Whether `/metrics`, and `/stats` over all topics, may be read."""
        return self.admin or self.metrics

    @property
    def may_publish_anything(self) -> bool:
        """Whether there may be a topic to publish to."""
        return self.admin or bool(self.publishable)

    @property
    def may_read_anything(self) -> bool:
        """Whether there may be a topic to read."""
        return self.admin or bool(self.readable)

    @property
    def may_subscribe_anything(self) -> bool:
        """Whether there may be a subscription to use."""
        return self.admin or bool(self.subscribable)

    def may_publish(self, topic: str) -> bool:
        """Return whether events may be published to a topic."""
        return self.admin or self.publishable.matches(topic)

    def may_publish_as(self, source: str) -> bool:
        """Return whether an event may have a source; this binds an admin as well."""
        return self.source is None or self.source == source

    def may_read(self, topic: str) -> bool:
        """Return whether a topic may be read."""
        return self.admin or self.readable.matches(topic)

    def may_subscribe(self, subscription: str) -> bool:
        """Return whether a subscription may be used; its topics must be readable as well."""
        return self.admin or self.subscribable.matches(subscription)

    def covers_read(self, pattern: str) -> bool:
        """Return whether every topic that a pattern stands for may be read.

        Args:
            pattern: the name of a topic or a pattern, valid.
        """
        return self.admin or self.readable.covers(pattern)

    def expires_with(self, digest: Digest | None) -> int | None:
        """Return when the entry counts no more for who shows a token, in microseconds, or None."""
        own = None if digest is None else digest.expires_us
        if own is None or self.expires_us is None:
            return self.expires_us if own is None else own
        return min(own, self.expires_us)

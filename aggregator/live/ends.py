"""The ends of streams: why they end, and which of them are not whole."""

CLIENT, LIFETIME, SHUTDOWN, SLOW = "client", "lifetime", "shutdown", "slow"
"""Why streams end; a sentence says any other reason."""


class StreamCut(Exception):
    """A stream can't go on, and must not end as one that is whole; the message says why."""

"""The ends of streams: why they end, and which of them are not whole."""

CLIENT, CREDENTIAL, LIFETIME, SHUTDOWN, SLOW = (
    "client",
    "credential",
    "lifetime",
    "shutdown",
    "slow",
)
"""Why streams end; a sentence says any other reason."""


class StreamCut(Exception):
    """A stream can't go on, and must not end as one that is whole; the message says why."""

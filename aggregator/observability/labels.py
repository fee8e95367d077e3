"""Labels that stand for all the others, where a number of names has to have a bound."""

OTHER_TOPICS = "(other)"
"""Topics that are not named; no topic has this name, for parentheses are not allowed in one."""

OTHER_PATHS = "other"
"""Paths that lead nowhere; no route is called so."""

STREAMS_PATH = "/events (stream)"
"""Reads as NDJSON, which last as long as their readers take; no route is called so."""

WAITS_PATH = "/events (wait)"
"""Reads with `Prefer: wait`, which last as long as nothing comes; no route is called so."""

LEASE_WAITS_PATH = "/subscriptions/{name}/lease (wait)"
"""Leases with `wait_ms`, which last as long as nothing comes; no route is called so."""

"""Settles as consumers send them, made the commands that are decided on."""

from hashlib import blake2b

import msgspec

from storage.subscriptions import commands
from storage.subscriptions.commands import Death, Retry, Token
from subscriber.calls.requests import Settle
from subscriber.testing.rules import (
    MAX_ENTRIES,
    MAX_OFFSET,
    check_range,
    refuse,
    whole_number,
)
from subscriber.testing.settings import MAX_BACKOFF_MS, MAX_LEASE_MS, MIN_LEASE_MS

_MAX_ERROR_CHARACTERS = 4000
_DIGEST_BYTES = 16


def settle_command(name: str, settle: Settle, token: Token) -> commands.Settle:
    """Check a settle, and return its command.

    Args:
        name: of the subscription.
        settle: as a consumer sends it.
        token: of its lease.

    Raises:
        SubscriptionRefused: it breaks a rule.
    """
    parts = (settle.ack, settle.retry, settle.dead, settle.release)
    if (count := sum(map(len, parts))) > MAX_ENTRIES:
        refuse(f"{count} entries are more than {MAX_ENTRIES}, which is the limit")
    for field, ranges in (("ack", settle.ack), ("release", settle.release)):
        for _, first, last in ranges:
            check_range(field, first, last)
    for retry in settle.retry:
        whole_number("retry.offset", retry.offset, 1, MAX_OFFSET)
        if retry.after_ms is not None:
            whole_number("retry.after_ms", retry.after_ms, 0, MAX_BACKOFF_MS)
    for death in settle.dead:
        whole_number("dead.offset", death.offset, 1, MAX_OFFSET)
    if settle.extend_ms is not None:
        whole_number("extend_ms", settle.extend_ms, MIN_LEASE_MS, MAX_LEASE_MS)
    kept = (
        [(topic, first, last) for topic, first, last in settle.ack],
        [Retry(each.topic, each.offset, each.after_ms, _kept(each.error)) for each in settle.retry],
        [Death(each.topic, each.offset, _kept(each.error)) for each in settle.dead],
        [(topic, first, last) for topic, first, last in settle.release],
    )
    ack, retries, deaths, release = kept
    encoded = msgspec.json.encode(kept)
    return commands.Settle(
        name=name,
        token=token,
        ack=ack,
        retry=retries,
        dead=deaths,
        release=release,
        extend_ms=settle.extend_ms,
        digest=blake2b(encoded, digest_size=_DIGEST_BYTES).digest() if any(kept) else b"",
    )


def _kept(error: str | None) -> str | None:
    """Return what is kept of the text of an error: no database keeps all characters."""
    if error is None:
        return None
    text = error[:_MAX_ERROR_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

"""The bodies of requests that move a subscription or its dead letters, or that need none."""

from typing import NamedTuple

from aggregator.wire.json_fields import FieldCheck, kind_of_value, parse_object
from aggregator.wire.subscription_entries import MAX_ENTRIES, parse_ranges
from aggregator.wire.subscription_settings import parse_beginning
from storage.subscriptions.commands import Range
from storage.subscriptions.model import Beginning


class SeekRequest(NamedTuple):
    """A move of a subscription.

    Args:
        begins: where it begins from then on.
        dry_run: only say what it would do.
    """

    begins: Beginning
    dry_run: bool


def parse_seek(body: bytes) -> SeekRequest:
    """Parse the body of a seek.

    Raises:
        MalformedBody: it is no JSON.
        InvalidRequest: it breaks a rule.
    """
    check = FieldCheck(parse_object(body))
    check.only(("from", "dry_run"))
    begins = Beginning(at="now")
    if check.given("from", required=True):
        begins = parse_beginning(check, "from")
    dry_run = _flag(check, "dry_run")
    check.finish()
    return SeekRequest(begins, dry_run)


def parse_retry_dead(body: bytes) -> list[Range] | None:
    """Parse the body of a retry of dead letters.

    Returns:
        Ranges of offsets; None: all dead letters.

    Raises:
        MalformedBody: it is no JSON.
        InvalidRequest: it breaks a rule.
    """
    check = FieldCheck(parse_object(body))
    check.only(("offsets", "all"))
    if len(check.members) != 1 or not (check.given("offsets") or check.given("all")):
        check.add_error(
            "offsets", 'or all must be given: "offsets": [[TOPIC, FIRST, LAST], …], or "all": true'
        )
    if check.given("all"):
        if not _flag(check, "all") and not check.errors:
            check.add_error("all", "must be true; name offsets for some of them")
        check.finish()
        return None
    if not 1 <= len(check.array("offsets")) <= MAX_ENTRIES and not check.errors:
        check.add_error("offsets", f"must hold 1 to {MAX_ENTRIES} ranges")
    ranges = parse_ranges(check, "offsets")
    check.finish()
    return ranges


def parse_nothing(body: bytes) -> None:
    """Check the body of a request that needs none: it has none, or an empty object.

    Raises:
        MalformedBody: it is no JSON.
        InvalidRequest: it has members.
    """
    if body:
        check = FieldCheck(parse_object(body))
        for name in check.members:
            check.add_error(name[:64].encode(errors="replace").decode(), "is unknown here")
        check.finish()


def _flag(check: FieldCheck, name: str) -> bool:
    value = check.members.get(name, False)
    if not isinstance(value, bool):
        check.add_error(name, f"must be true or false, not {kind_of_value(value)}")
        return False
    return value

"""Where shipping sends records, and whom it tells."""

from collections.abc import Callable
from dataclasses import dataclass

from publisher.credentials import NO_CREDENTIALS, Credentials
from publisher.retry import OnRetry, RetryPolicy
from publisher.ship.bookkeeping import Tell
from publisher.ship.dead_letters import DeadLetters
from publisher.ship.records.record import Format
from publisher.ship.records.source import SourceTemplate
from publisher.ship.totals import Totals


@dataclass(frozen=True, slots=True)
class Target:
    """Where records go, and how.

    Args:
        url: of the aggregator, without `/publish`.
        topic: of the records that have none of their own.
        line_format: makes records of lines.
        source: of the events.
        host: is part of the ids.
        by_source: ids are made of the source and the bytes alone.
        options: what of the options may make that records are refused.
        batch_events: at most this many events in a request.
        policy: when a request is tried again.
        dead_letters: take the records that break a rule.
        credentials: what is shown with each request.
    """

    url: str
    topic: str
    line_format: Format
    source: SourceTemplate
    host: str
    by_source: bool
    options: str
    batch_events: int
    policy: RetryPolicy
    dead_letters: DeadLetters | None
    credentials: Credentials = NO_CREDENTIALS


@dataclass(frozen=True, slots=True)
class Report:
    """Whom shipping tells.

    Args:
        totals: counted up.
        tell_of_file: told a sentence of each file about which there is something to say.
        tell_of_line: told of each record that was not stored as it should be, maybe very many.
        expect_bytes: told how many bytes the files have, if that is known.
        on_bytes: told how many more were acknowledged; None: nobody is.
        on_retry: told of failed tries.
    """

    totals: Totals
    tell_of_file: Tell
    tell_of_line: Tell
    expect_bytes: Callable[[int], None]
    on_bytes: Callable[[int], None] | None
    on_retry: OnRetry

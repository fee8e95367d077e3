"""The plans of consumers in a campaign of consumers: what each is to do, and where it dies."""

from enum import StrEnum

import msgspec

RESULTS = "results-of-"
"""The name of a topic of results, before that of the subscription."""
STEP = "invoice"
"""What makes a result."""


class Point(StrEnum):
    """Where a consumer is killed."""

    ANY = "at any moment"
    LEASING = "while a lease is asked for"
    LEASED = "with a lease that it does not know of"
    BEFORE = "before the effect"
    AMID = "amid the effects of a block"
    WRITTEN = "behind the effects, before the commit"
    LEAVING = "in leaving the block"
    JOINED = "behind the block, before its caller's commit"
    PUBLISHING = "while results are published"
    DURABLE = "behind the commit, before the acknowledgement"
    ACKING = "in an explicit ack"
    RETURNED = "behind the end of the handler"
    SETTLING = "while a settle is under way"
    SETTLED = "with an answer to a settle that it does not know of"
    EXTENDING = "in extending a lease"
    HALVING = "in halving a batch"


class Kind(StrEnum):
    """What a consumer does with an event."""

    CHECKPOINT = "checkpoint"
    RESULTS = "results"
    """It publishes a result in another topic."""
    ACKS = "acks alone"
    BESIDE = "effect beside the checkpoint"
    """The effect is committed by another connection: a protection is taken away."""
    NOTED_FIRST = "effect behind the checkpoint"
    """The block is empty, and the effect follows: the same."""


class Library(StrEnum):
    """With what a consumer reaches its own database, and whether it is a `BlockingSubscriber`."""

    NONE = "none"
    AIOSQLITE = "aiosqlite"
    ASYNCPG = "asyncpg"
    PSYCOPG = "psycopg"
    SQLITE3_BLOCKING = "sqlite3, blocking"
    PSYCOPG_BLOCKING = "psycopg, blocking"

    @property
    def blocks(self) -> bool:
        """Whether the consumer has no event loop of its own."""
        return self in {Library.SQLITE3_BLOCKING, Library.PSYCOPG_BLOCKING}

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file of SQLite."""
        return self in {Library.AIOSQLITE, Library.SQLITE3_BLOCKING}


class Way(StrEnum):
    """By which call events are consumed."""

    RUN = "run"
    RUN_BATCHES = "run_batches"
    LOOP = "loop"
    BATCH_LOOP = "loop of batches"

    @property
    def is_loop(self) -> bool:
        """Whether the consumer has a loop in place of a handler."""
        return self in {Way.LOOP, Way.BATCH_LOOP}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of one consumer process.

    Args:
        number: of the consumer.
        url: of the aggregator.
        subscription: its name.
        kind: what it does with an event.
        library: with what it reaches its own database.
        target: that database, a DSN or a path.
        way: by which call it consumes.
        max_events: of a lease.
        batch_events: of a batch, at most.
        concurrency: of its handlers.
        point: where it kills itself; None: nowhere.
        countdown: at which of its visits to that point, from 1.
        delay_s: how long after it, where something is under way at the point.
        lasts_s: how long a handler takes.
        lasts_inside: whether it takes so long in the block of its checkpoint.
        joins: whether it opens the transaction of its checkpoint.
        acks: whether it acknowledges explicitly.
        failures: how many calls of its handler fail that have an event of `fails_every`.
        fails_every: one event in so many fails.
        poison: the id of an event that always fails.
        until_caught_up: whether it ends when nothing is left.
        gate: the port of the gate at which it stops; None: there is none.
        stops: where it stops until the gate lets it go on.
    """

    number: int
    url: str
    subscription: str
    kind: Kind = Kind.CHECKPOINT
    library: Library = Library.NONE
    target: str = ""
    way: Way = Way.RUN_BATCHES
    max_events: int = 100
    batch_events: int = 100
    concurrency: int = 1
    point: Point | None = None
    countdown: int = 1
    delay_s: float = 0.0
    lasts_s: float = 0.0
    lasts_inside: bool = False
    joins: bool = False
    acks: bool = False
    failures: int = 0
    fails_every: int = 5
    poison: str = ""
    until_caught_up: bool = False
    gate: int | None = None
    stops: tuple[Point, ...] = ()

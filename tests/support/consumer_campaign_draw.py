"""The choices of a campaign of consumers: subscriptions, and a plan for each consumer's life."""

import random
from typing import NamedTuple

from support.consumer_campaign_plan import Kind, Library, Plan, Point, Way

LEASE_MS = 1_000
"""The minimum."""

SETTINGS = {
    "lease_ms": LEASE_MS,
    "backoff_ms": [0],
    # Nothing dies by its count.
    "max_deliveries": 1_000,
    "stop_after_dead": None,
}


class Subject(NamedTuple):
    """A subscription in a campaign.

    Args:
        name: of the subscription.
        kind: what its consumers do with an event.
        library: with what they reach their database.
        order: of the subscription.
        consumers: at once.
    """

    name: str
    kind: Kind
    library: Library
    order: str = "topic"
    consumers: int = 2


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("ordered-aiosqlite", Kind.CHECKPOINT, Library.AIOSQLITE),
        Subject("ordered-sqlite3", Kind.CHECKPOINT, Library.SQLITE3_BLOCKING),
        Subject("ordered-asyncpg", Kind.CHECKPOINT, Library.ASYNCPG, consumers=3),
        Subject("ordered-psycopg", Kind.CHECKPOINT, Library.PSYCOPG),
        Subject("any-order-aiosqlite", Kind.CHECKPOINT, Library.AIOSQLITE, "none", 3),
        Subject("any-order-asyncpg", Kind.CHECKPOINT, Library.ASYNCPG, "none", 3),
        Subject("any-order-psycopg", Kind.CHECKPOINT, Library.PSYCOPG_BLOCKING, "none"),
        Subject("results", Kind.RESULTS, Library.NONE),
        Subject("any-order-results", Kind.RESULTS, Library.NONE, "none"),
        Subject("acks-asyncpg", Kind.ACKS, Library.ASYNCPG),
        Subject("acks-sqlite3", Kind.ACKS, Library.SQLITE3_BLOCKING, "none"),
        Subject("beside", Kind.BESIDE, Library.ASYNCPG),
        Subject("noted-first", Kind.NOTED_FIRST, Library.AIOSQLITE),
    )
}
SOUND = tuple(
    name
    for name, subject in SUBJECTS.items()
    if subject.kind in {Kind.CHECKPOINT, Kind.RESULTS, Kind.ACKS}
)
"""Those from which nothing is taken away."""

_OF_ALL = frozenset(Point) - {Point.LEAVING, Point.WRITTEN, Point.JOINED, Point.PUBLISHING}
_POINTS = {
    Kind.CHECKPOINT: frozenset(Point) - {Point.PUBLISHING},
    Kind.RESULTS: _OF_ALL | {Point.PUBLISHING},
    Kind.ACKS: _OF_ALL,
    Kind.BESIDE: frozenset({Point.AMID, Point.WRITTEN, Point.LEAVING}),
    Kind.NOTED_FIRST: frozenset({Point.JOINED}),
}
_DELAYS_S = {
    # From before it is sent until after it is done.
    Point.LEASING: 0.02,
    Point.LEAVING: 0.004,
    Point.PUBLISHING: 0.02,
    Point.ACKING: 0.01,
    # An acknowledgement waits for others for up to 50 ms.
    Point.RETURNED: 0.07,
    Point.SETTLING: 0.01,
    Point.EXTENDING: 0.01,
}
"""The longest delays of kills while something is under way."""


def points_of(kind: Kind) -> list[Point]:
    """Where a consumer of a kind is killed; more often at any moment than at each other point."""
    points = _POINTS[kind]
    return [*sorted(points), *[Point.ANY] * (2 if Point.ANY in points else 0)]


def draw(
    chance: random.Random, subject: Subject, point: Point, number: int, url: str, target: str
) -> Plan:
    """Draw the plan of a consumer.

    Args:
        chance: decides.
        subject: the subscription.
        point: where it is to die.
        number: of the consumer.
        url: of the aggregator.
        target: its own database.
    """
    way = chance.choice([*Way])
    if point is Point.HALVING:
        way = Way.RUN_BATCHES
    keeps_long = point is Point.EXTENDING or chance.random() < 0.05
    delay_s = chance.choice((0.0, chance.random() ** 2)) * _DELAYS_S.get(point, 0.0)
    fails = chance.random() < 0.3 and subject.kind in {Kind.CHECKPOINT, Kind.RESULTS}
    return Plan(
        number=number,
        url=url,
        subscription=subject.name,
        kind=subject.kind,
        library=subject.library,
        target=target,
        way=way,
        max_events=chance.choice((1, 3, 6, 12)),
        batch_events=chance.choice((2, 5, 10)),
        concurrency=chance.randint(1, 3),
        point=None if point is Point.ANY else point,
        countdown=chance.choice((1, 2, 3, 6)) if point is not Point.EXTENDING else 1,
        delay_s=delay_s,
        # Longer than a lease, which is extended again and again.
        lasts_s=chance.uniform(1.1, 1.7) * LEASE_MS / 1000 if keeps_long else 0.0,
        # In a file of SQLite it would have all others wait.
        lasts_inside=not subject.library.is_sqlite and chance.random() < 0.5,
        joins=point is Point.JOINED or chance.random() < 0.3,
        acks=point is Point.ACKING or chance.random() < 0.2,
        failures=3 if point is Point.HALVING or (fails and not way.is_loop) else 0,
    )

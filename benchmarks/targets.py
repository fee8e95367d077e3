"""The targets of the figures, as ratios of measurements of the same run."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks import (
    growth,
    latency,
    library,
    peers,
    processor,
    reading,
    ship,
    standard,
    start,
    streams,
    subscriptions,
)
from benchmarks.rounds import Part
from benchmarks.tables import spread

FIVE_MILLION, HUNDRED_THOUSAND = 5_000_000, 100_000


class Target(NamedTuple):
    """A ratio of two figures of one part, or a figure."""

    says: str
    part: str
    of: str
    over: str
    """The figure that it is divided by; empty where the bound is of the figure itself."""
    bound: float
    at_most: bool = False
    """The bound is the greatest allowed value, not the least."""
    field: str = "events_s"
    """The field of `Measured` that is compared."""


class Reached(NamedTuple):
    """The result of a target."""

    target: Target
    ratios: list[float]
    """The ratio, or the figure, of each round; none if it was not measured."""
    why_not: str = ""
    """Why there is no ratio."""

    @property
    def holds(self) -> bool | None:
        """Whether the median is within the bound; None without a ratio."""
        if not self.ratios:
            return None
        median = statistics.median(self.ratios)
        bound = self.target.bound
        return median <= bound if self.target.at_most else median >= bound


def _memory(backend: str, ids: str) -> Target:
    return Target(
        f"{backend}, {ids}: memory of the aggregator after 5 million events / after 100,000",
        "growth",
        growth.stretch_to(backend, ids, FIVE_MILLION),
        growth.first(backend, ids, HUNDRED_THOUSAND),
        1.2,
        at_most=True,
        field="resident_mib",
    )


def _over_jetstream(name: str) -> Target:
    return Target(f"{name} over HTTP / JetStream with dedup", "peers", name, peers.JETSTREAM, 2)


def _library(backend: str, way: str) -> Target:
    return Target(
        f"{backend}, {way}: processor time / that of lease + settle by hand",
        "library",
        library.named(backend, way),
        library.named(backend, library.BY_HAND),
        1.5,
        at_most=True,
        field="all_cpu_s_per_million",
    )


def _p99(backend: str) -> Target:
    return Target(
        f"{backend}, p99 of a single publish at half of the highest load / bare handler's",
        "latency",
        latency.half_load(backend),
        latency.handler_at(backend),
        4,
        at_most=True,
        field="p99_ms",
    )


def _processor_time(name: str) -> Target:
    return Target(
        f"{name}: processor time of all processes / that of the other checkout",
        "processor",
        name,
        processor.before(name),
        1.02,
        at_most=True,
        field="all_cpu_s_per_million",
    )


def _reading(
    backend: str, over_jetstream: float, over_before: float, publishing: float
) -> list[Target]:
    parsed = reading.on(backend, reading.PARSED)
    served = reading.on(backend, reading.SERVER_SIDE)
    published = reading.on(backend, reading.PUBLISHING)
    return [
        Target(
            f"{parsed} / bare {backend} that builds the same lines",
            "reading",
            parsed,
            reading.bare(backend),
            0.6,
        ),
        Target(
            f"{parsed} / JetStream's pull consumer",
            "reading",
            parsed,
            reading.JETSTREAM,
            over_jetstream,
        ),
        Target(
            f"{served} / that of the other checkout",
            "reading",
            served,
            reading.before(served),
            over_before,
        ),
        Target(
            f"{published} / that of the other checkout",
            "reading",
            published,
            reading.before(published),
            publishing,
        ),
        Target(
            f"{backend}, publishing with 1,000 waits open / without",
            "reading",
            reading.on(backend, reading.QUIET_WAITS),
            published,
            0.97,
        ),
        Target(
            f"{backend}, MiB of all processes while 20 clients read payloads of 1 MiB",
            "reading",
            reading.on(backend, reading.MEMORY["pages"]),
            "",
            400,
            at_most=True,
            field="resident_mib",
        ),
    ]


def _streams(backend: str, until_event: float) -> list[Target]:
    def ratio(what: str, over: str, bound: float) -> Target:
        return Target(f"{what} / {over}", "streams", what, over, bound)

    one, published = streams.on(backend, streams.STREAM), streams.on(backend, streams.PUBLISHING)
    event, answer = streams.on(backend, streams.EVENT), streams.on(backend, streams.ANSWER)
    idle = streams.on(backend, streams.IDLE)
    return [
        ratio(one, streams.on(backend, streams.LINES), 0.8),
        *(
            ratio(streams.on(backend, what), streams.bare(backend, what), 0.7)._replace(
                field="mib_s"
            )
            for what in (streams.FROM_START, streams.AT_HEAD)
        ),
        ratio(streams.on(backend, streams.BESIDE_IDLE), published, 0.95),
        Target(f"{idle}, KiB each", "streams", idle, "", 20, at_most=True, field="stream_kib"),
        ratio(event, answer, until_event)._replace(at_most=True, field="p50_ms"),
    ]


def _subscriptions(backend: str, eight: float) -> list[Target]:
    def ratio(what: str, over: str, bound: float) -> Target:
        return Target(f"{what} / {over}", "subscriptions", what, over, bound)

    def on(what: str) -> str:
        return subscriptions.on(backend, what)

    return [
        ratio(on(subscriptions.ahead(100)), subscriptions.BEST_PEER, 3),
        ratio(on(subscriptions.ahead(1_000)), subscriptions.BEST_PEER, 5),
        ratio(on(subscriptions.competing(8)), on(subscriptions.competing(1)), eight),
        ratio(on(subscriptions.FOLLOWED), on(subscriptions.PUBLISHING), 0.6),
        ratio(on(subscriptions.SETTLED), on(subscriptions.FOLLOWED), 0.95),
        *(
            ratio(
                on(subscriptions.in_the_middle(at_once, FIVE_MILLION)),
                on(subscriptions.carried(at_once)),
                0.9,
            )
            for at_once in subscriptions.AT_ONCE
        ),
    ]


TARGETS: Sequence[Target] = [
    *(
        Target(f"{name}, 16 connections / {ceiling}", "standard", name, ceiling, 0.75)
        for name, ceiling in (
            (standard.SQLITE, standard.BARE_SQLITE),
            (standard.POSTGRES, standard.BARE_POSTGRES),
        )
    ),
    *(
        Target(
            f"{name}, 64 connections / bare handler",
            "standard",
            name,
            standard.HANDLER_SINGLE,
            0.6,
        )
        for name in (standard.SQLITE_SINGLE, standard.POSTGRES_SINGLE)
    ),
    *(_over_jetstream(name) for name in (standard.SQLITE, standard.POSTGRES)),
    Target(
        "SQLite, time-ordered ids: events/s with 5 million stored / when empty",
        "growth",
        growth.stored("SQLite", "uuid7", FIVE_MILLION),
        growth.empty_beside("SQLite", "uuid7", FIVE_MILLION),
        0.9,
    ),
    Target(
        "SQLite, 5 million stored: UUIDv4 / time-ordered ids",
        "growth",
        growth.stored("SQLite", "uuid4", FIVE_MILLION),
        growth.stored("SQLite", "uuid7", FIVE_MILLION),
        0.4,
    ),
    *(_memory(backend, ids) for backend in growth.BACKENDS for ids in growth.KINDS_OF_ID),
    *(_p99(backend) for backend in latency.BACKENDS),
    *(_processor_time(name) for name in processor.NAMES),
    *(
        _library(backend, way)
        for backend in library.BACKENDS
        for way in (library.RUN, library.LOOP, library.BATCHES)
    ),
    Target(
        "SQLite, start to ready / that of the other checkout",
        "start",
        start.NAME,
        start.BEFORE,
        1.05,  # starts spread more than processor time does
        at_most=True,
        field="start_ms",
    ),
    *(
        Target(
            f"{name}, shipped: lines a second / those of the other checkout",
            "ship",
            name,
            ship.before(name),
            1.5,
        )
        for name in ship.ONCE
    ),
    *(
        Target(
            f"{name}: processor time of the shipper / that of the other checkout",
            "ship",
            name,
            ship.before(name),
            0.1,
            at_most=True,
            field="shipper_cpu_s",
        )
        for name in ship.FOLLOWED
    ),
    *_reading("SQLite", over_jetstream=8, over_before=2.2, publishing=1.05),
    *_reading("Postgres", over_jetstream=5.5, over_before=1.8, publishing=1.0),
    *_streams("SQLite", until_event=1.5),
    *_streams("Postgres", until_event=1.7),
    *_subscriptions("SQLite", eight=0.9),
    *_subscriptions("Postgres", eight=1.3),
]


def reach(parts: Mapping[str, Part], targets: Sequence[Target] = TARGETS) -> list[Reached]:
    """Return the result of each target.

    Args:
        parts: the parts that were measured, by name.
        targets: the targets.
    """
    return [_reached(target, parts.get(target.part)) for target in targets]


def _reached(target: Target, part: Part | None) -> Reached:
    if part is None:
        return Reached(target, [], f"the part {target.part} was not run")
    if target.over:
        ratios = part.ratios(target.of, target.over, target.field)
    else:
        ratios = part.values(target.of, target.field)
    if ratios:
        return Reached(target, ratios)
    reasons = [part.missing[name] for name in (target.of, target.over) if name in part.missing]
    return Reached(target, [], "; ".join(reasons) or "this run did not get there")


def targets_table(reached: Sequence[Reached]) -> str:
    """Return the results as a table in Markdown, a row for each target."""
    lines = ["| target | reached | must be | |", "|---|---|---|---|"]
    for each in reached:
        bound = f"at {'most' if each.target.at_most else 'least'} {each.target.bound}"
        found = spread(each.ratios) if each.ratios else f"not measured: {each.why_not}"
        verdict = {True: "holds", False: "does not hold", None: ""}[each.holds]
        lines.append(f"| {each.target.says} | {found} | {bound} | {verdict} |")
    return "\n".join(lines)

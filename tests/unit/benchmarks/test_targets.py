"""Targets are computed from what was measured, round by round, and say what does not hold."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3]))
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
from benchmarks.measuring import Measured
from benchmarks.rounds import Part
from benchmarks.targets import TARGETS, Target, reach, targets_table

AT_LEAST = Target("figure / ceiling", "standard", "figure", "ceiling", 0.75)
AT_MOST = Target("figure / ceiling", "standard", "figure", "ceiling", 4, at_most=True)


def part(**measurements: list[float]) -> Part:
    """Events/s by name; each p99 is a tenth of it."""
    made = Part(lambda _: None)
    for name, values in measurements.items():
        for value in values:
            made.add(name, Measured(value, p99_ms=value / 10))
    return made


@pytest.mark.parametrize(
    ("figure", "holds", "shown"),
    [
        # A ratio is of one round; that of the medians would be another.
        ([75, 160, 30], True, "| 0.75 (0.30-0.80) | at least 0.75 | holds |"),
        ([74, 160, 30], False, "| 0.74 (0.30-0.80) | at least 0.75 | does not hold |"),
    ],
)
def test_the_median_of_the_rounds_decides(figure: list[float], holds: bool, shown: str) -> None:
    measured = {"standard": part(figure=figure, ceiling=[100, 200, 100])}
    (reached,) = reach(measured, [AT_LEAST])
    assert reached.holds is holds
    assert shown in targets_table([reached])


def test_a_bound_from_above_and_of_another_figure() -> None:
    measured = {"standard": part(figure=[50], ceiling=[10])}
    target = AT_MOST._replace(field="p99_ms")
    (reached,) = reach(measured, [target])
    assert reached.ratios == [5]
    assert reached.holds is False
    assert "| at most 4 | does not hold |" in targets_table([reached])
    (reached,) = reach(measured, [target._replace(bound=5)])
    assert reached.holds is True


def test_a_bound_of_a_figure_itself() -> None:
    target = Target("MiB", "standard", "figure", "", 40, at_most=True)
    (reached,) = reach({"standard": part(figure=[39, 41, 40])}, [target])
    assert reached.ratios == [39, 41, 40]
    assert reached.holds is True
    assert "| MiB | 40.00 (39.00-41.00) | at most 40 | holds |" in targets_table([reached])
    (reached,) = reach({"standard": part(other=[39])}, [target])
    assert reached.holds is None


def test_what_was_not_measured_says_why_and_neither_holds_nor_fails() -> None:
    without_peer = part(figure=[1])
    without_peer.miss("ceiling", "it is not installed")
    for parts, why in (
        ({}, "the part standard was not run"),
        ({"standard": part(figure=[1])}, "this run did not get there"),
        ({"standard": without_peer}, "it is not installed"),
    ):
        (reached,) = reach(parts, [AT_LEAST])
        assert reached.holds is None
        assert f"| not measured: {why} | at least 0.75 |  |" in targets_table([reached])


def test_growth_is_measured_at_every_million_or_every_fifth() -> None:
    assert growth.steps(1_000) == [200, 400, 600, 800, 1_000]
    assert growth.steps(10_000_000) == [million * 1_000_000 for million in range(1, 11)]


def test_every_target_is_of_figures_that_a_whole_run_takes() -> None:
    assert 5_000_000 in growth.steps(5_000_000)
    assert 5_000_000 in growth.steps(10_000_000)
    named = {
        "standard": {
            standard.SQLITE,
            standard.POSTGRES,
            standard.BARE_SQLITE,
            standard.BARE_POSTGRES,
            standard.SQLITE_SINGLE,
            standard.POSTGRES_SINGLE,
            standard.HANDLER_SINGLE,
        },
        "peers": {standard.SQLITE, standard.POSTGRES, peers.JETSTREAM},
        "latency": {
            name(backend)
            for backend in latency.BACKENDS
            for name in (latency.half_load, latency.handler_at)
        },
        "growth": {
            name
            for backend in growth.BACKENDS
            for ids in growth.KINDS_OF_ID
            for name in (
                growth.stored(backend, ids, 5_000_000),
                growth.empty_beside(backend, ids, 5_000_000),
                growth.stretch_to(backend, ids, 5_000_000),
                growth.first(backend, ids, 100_000),
            )
        },
        "processor": {each for name in processor.NAMES for each in (name, processor.before(name))},
        "start": {start.NAME, start.BEFORE},
        "ship": {
            each for name in (*ship.ONCE, *ship.FOLLOWED) for each in (name, ship.before(name))
        },
        "reading": {
            reading.JETSTREAM,
            *map(reading.bare, reading.BACKENDS),
            *(
                each
                for backend in reading.BACKENDS
                for what in (
                    reading.PARSED,
                    reading.SERVER_SIDE,
                    reading.PUBLISHING,
                    reading.QUIET_WAITS,
                    *reading.MEMORY.values(),
                )
                for name in (reading.on(backend, what),)
                for each in (name, reading.before(name))
            ),
        },
        "streams": {
            name
            for backend in streams.BACKENDS
            for name in (
                *(
                    streams.on(backend, what)
                    for what in (
                        streams.STREAM,
                        streams.LINES,
                        streams.FROM_START,
                        streams.AT_HEAD,
                        streams.PUBLISHING,
                        streams.BESIDE_IDLE,
                        streams.IDLE,
                        streams.EVENT,
                        streams.ANSWER,
                    )
                ),
                streams.bare(backend, streams.FROM_START),
                streams.bare(backend, streams.AT_HEAD),
            )
        },
        "library": {
            library.named(backend, way) for backend in library.BACKENDS for way in library.WAYS
        },
        "subscriptions": {
            subscriptions.BEST_PEER,
            *(
                subscriptions.on(backend, what)
                for backend in subscriptions.BACKENDS
                for what in (
                    *map(subscriptions.turns, subscriptions.AT_ONCE),
                    *map(subscriptions.carried, subscriptions.AT_ONCE),
                    *map(subscriptions.ahead, subscriptions.AT_ONCE),
                    *(
                        subscriptions.in_the_middle(at_once, 5_000_000)
                        for at_once in subscriptions.AT_ONCE
                    ),
                    *map(subscriptions.competing, (1, 8)),
                    subscriptions.PUBLISHING,
                    subscriptions.FOLLOWED,
                    subscriptions.SETTLED,
                )
            ),
        },
    }
    for target in TARGETS:
        assert target.of in named[target.part]
        assert not target.over or target.over in named[target.part]

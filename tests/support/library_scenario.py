"""Scenarios of a subscription: who consumes it, what handlers do, and what happens on the way."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from support.library_calls import Trouble, Way

SOURCES = ("shop", "till")


class Act(NamedTuple):
    """A part of what a handler does.

    Args:
        turns: of the event loop that it takes.
        sleeps_s: how long it sleeps.
        settles: what becomes of a delivery, `ack`, `retry`, `dead` or `release`; None: nothing.
        at: the delivery of a batch, by number; None: all of it.
        is_awaited: whether it waits for the answer.
        after_s: of a retry.
    """

    turns: int = 0
    sleeps_s: float = 0.0
    settles: str | None = None
    at: int | None = None
    is_awaited: bool = True
    after_s: float | None = None


class Program(NamedTuple):
    """What a handler does when it is called, or the body of a loop.

    Args:
        acts: one after the other.
        ends: `return`, `raise` an Exception, or `cancel` itself.
        swallows: whether it goes on after its first cancellation.
    """

    acts: Sequence[Act] = ()
    ends: str = "return"
    swallows: bool = False


class Mode(NamedTuple):
    """A way to consume.

    Args:
        kind: `run`, `run_batches`, `loop` or `batches`.
        most: events of a batch.
        concurrency: of `run` and `run_batches`.
        until_caught_up: of `run` and `run_batches`.
    """

    kind: str
    most: int
    concurrency: int
    until_caught_up: bool


class Plan(NamedTuple):
    """A consumer.

    Args:
        modes: one after the other; the next one where the former was cancelled, or came to its end.
        max_events: of a lease.
        ack_within_s: how long an acknowledgement may wait.
        gives_up: whether it does, after three seconds without an answer.
    """

    modes: Sequence[Mode]
    max_events: int
    ack_within_s: float
    gives_up: bool


class Step(NamedTuple):
    """Something that happens.

    Args:
        what: the name of a method of `support.library_stage.Stage`.
        argument: for it.
    """

    what: str
    argument: Any = None


class Scenario(NamedTuple):
    """A scenario.

    Args:
        settings: of the subscription.
        published: topics and sources of the events that are there at first.
        plans: the consumers that begin at first.
        steps: what happens then, in order.
        troubles: of the requests of all consumers, in the order in which they are sent.
        programs: of handlers, in the order in which they are called; then they return at once.
    """

    settings: Mapping[str, Any]
    published: Sequence[tuple[str, str]]
    plans: Sequence[Plan]
    steps: Sequence[Step]
    troubles: Sequence[Trouble]
    programs: Sequence[Program]


_WAITS_S = [0.0, 0.0, 0.0, 0.0, 0.02, 0.4, 1.3, 8.0, 40.0]

settings = st.fixed_dictionaries(
    {
        "topics": st.sampled_from([["a"], ["a", "b"], ["*"], ["*"]]),
        "order": st.sampled_from(["topic", "none"]),
        "lease_ms": st.sampled_from([1000, 5000, 30_000]),
        "max_deliveries": st.sampled_from([100, 5, 3, 1]),
        "backoff_ms": st.sampled_from([[0], [0, 100, 2000]]),
        "source": st.sampled_from([None, None, "shop"]),
        "max_leased": st.sampled_from([10_000, 10_000, 4]),
        "stop_after_dead": st.none(),
        "from": st.just("start"),
    }
)
events = st.tuples(st.sampled_from("aaabbc"), st.sampled_from(SOURCES))
pauses = st.builds(
    Act,
    turns=st.integers(0, 4),
    sleeps_s=st.sampled_from(_WAITS_S),
    settles=st.none(),
    at=st.none(),
    is_awaited=st.just(True),
    after_s=st.none(),
)
settlings = st.builds(
    Act,
    turns=st.integers(0, 2),
    sleeps_s=st.just(0.0),
    settles=st.sampled_from(["ack", "retry", "dead", "release"]),
    at=st.none() | st.integers(0, 3),
    is_awaited=st.booleans(),
    after_s=st.sampled_from([None, 0.0, 3.0]),
)
programs = st.builds(
    Program,
    acts=st.lists(st.one_of(pauses, pauses, settlings), max_size=4),
    ends=st.sampled_from(["return", "return", "return", "raise", "cancel"]),
    swallows=st.sampled_from([False, False, True]),
)
modes = st.builds(
    Mode,
    kind=st.sampled_from(["run", "run", "run_batches", "loop", "batches"]),
    most=st.integers(1, 5),
    concurrency=st.integers(1, 4),
    until_caught_up=st.booleans(),
)
plans = st.builds(
    Plan,
    modes=st.lists(modes, min_size=1, max_size=3),
    max_events=st.integers(1, 4),
    ack_within_s=st.sampled_from([0.05, 0.0, 5.0]),
    gives_up=st.sampled_from([False, False, False, True]),
)
troubles = st.builds(
    Trouble,
    way=st.sampled_from([Way.ANSWERED] * 5 + [Way.NOT_DONE, Way.NOT_TOLD, Way.SWALLOWED]),
    before_s=st.sampled_from(_WAITS_S),
    after_s=st.sampled_from(_WAITS_S),
    before=st.none(),
    after=st.none(),
    turns=st.integers(0, 3),
    error=st.none(),
)
consumers = st.integers(0, 3)
steps = st.one_of(
    st.builds(Step, st.just("turns"), st.integers(1, 12)),
    st.builds(Step, st.just("turns"), st.integers(1, 12)),
    st.builds(Step, st.just("passes"), st.sampled_from([0.03, 0.5, 1.0, 6.0, 35.0])),
    st.builds(Step, st.just("publish"), st.lists(events, min_size=1, max_size=6)),
    st.builds(Step, st.just("seek"), st.sampled_from(["start", "now", "a", "b"])),
    st.builds(Step, st.just("lose_leases"), st.none()),
    st.builds(Step, st.just("advance"), st.sampled_from([0.5, 1.0, 31.0])),
    st.builds(Step, st.sampled_from(["pause", "resume", "resume", "retry_dead"]), st.none()),
    st.builds(Step, st.just("start"), plans),
    st.builds(Step, st.sampled_from(["stop", "cancel", "cancel"]), consumers),
)
scenarios = st.builds(
    Scenario,
    settings=settings,
    published=st.lists(events, min_size=8, max_size=20),
    plans=st.lists(plans, min_size=1, max_size=3),
    steps=st.lists(steps, min_size=5, max_size=16),
    troubles=st.lists(troubles, min_size=8, max_size=30),
    programs=st.lists(programs, min_size=8, max_size=24),
)

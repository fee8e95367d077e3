"""Hypothesis: settings of subscriptions, and settles of what a lease has."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from hypothesis import strategies as st

from storage.subscriptions.commands import Death, Range, Retry, Settle, Token
from storage.subscriptions.model import OnDead, Order, SubscriptionSettings
from support.subscription_model import GivenLease, SubscriptionRecord

NAMES = ["p", "q"]
TOPICS = ["a", "b.x", "b.y", "c"]
SOURCES = ["s", "t"]
_WANTED = [("a",), ("a", "c"), ("**",), ("b.*",), ("*", "b.x"), ("a", "b.x", "b.y"), ("*.y", "a")]
_LEASE_MS = [1000, 1000, 4000]
_BACKOFF_MS = [(0,), (0,), (0, 1200), (500, 0, 2500)]

CHANGES = {
    "topics": st.sampled_from(_WANTED),
    "source": st.sampled_from([None, None, *SOURCES]),
    "lease_ms": st.sampled_from(_LEASE_MS),
    "max_deliveries": st.integers(1, 4),
    "backoff_ms": st.sampled_from(_BACKOFF_MS),
    "on_dead": st.sampled_from([OnDead.CONTINUE, OnDead.CONTINUE, OnDead.PAUSE]),
    "stop_after_dead": st.sampled_from([None, None, None, 1, 2, 4]),
    "max_leased": st.sampled_from([1000, 1000, 10, 3, 1]),
}
"""What a PATCH may change, and to what."""

changes = st.one_of(
    st.sampled_from(sorted(CHANGES)).flatmap(
        lambda key: st.fixed_dictionaries({key: CHANGES[key]})
    ),
    st.fixed_dictionaries({}, optional=CHANGES).filter(bool),
)
many_settings = st.builds(
    SubscriptionSettings,
    **CHANGES | {"order": st.sampled_from(Order)},
).map(
    lambda drawn: (
        msgspec.structs.replace(drawn, on_dead=OnDead.CONTINUE) if drawn.rule_broken() else drawn
    )
)

ACTIONS = ["ack", "ack", "retry", "retry", "dead", "release", "keep", "keep", "keep"]
actions = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(1, 4)), min_size=1, max_size=5)
SPOILT = [
    *("", "", "", "", "", "whole", "whole", "whole", "first", "first"),
    *("bold", "twice", "beyond", "elsewhere"),
]
ERRORS = [None, "no", "no", "not again"]


class Wishes(NamedTuple):
    """What is to be done with the events of a lease, and what is wrong with it."""

    actions: Sequence[tuple[str, int]]
    spoilt: str
    extend_ms: int | None
    after_ms: int | None
    error: str | None
    trims: bool
    rest: bool


wishes = st.builds(
    Wishes,
    actions,
    st.sampled_from(SPOILT),
    st.sampled_from([None, None, None, 1100, 9000]),
    st.sampled_from([None, None, 0, 700]),
    st.sampled_from(ERRORS),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([False] * 9 + [True]),
)


def settle_of(name: str, record: SubscriptionRecord | None, token: Token, wish: Wishes) -> Settle:
    """A settle by a token as it is wished for, on the events that are still held, if any are."""
    lease = None if record is None else record.leases.get(token.lease)
    held = [] if record is None or lease is None else held_places(record, lease)
    if not held or wish.spoilt in {"whole", "beyond"}:
        held = [(t, o) for t, first, last in token.extents for o in range(first, last + 1)]
    keeps_order = record is not None and record.keeps_order and wish.spoilt != "bold"
    chosen = choose(held, wish.actions, keeps_order=keeps_order)
    ack, release = ranges(chosen["ack"], held), ranges(chosen["release"], held)
    if wish.spoilt == "whole":
        chosen, release = {key: [] for key in chosen}, []
        ack = list(token.extents)
    if wish.spoilt == "first" and record is not None and chosen["ack"]:
        # Up to an event, from the first one on, settled or not.
        topic, offset = chosen["ack"][-1]
        chosen["retry"], chosen["dead"], release = [], [], []
        ack = [(t, first, offset) for t, first, _ in token.extents if t == topic]
    if wish.spoilt == "twice" and ack:
        release = [*release, (ack[0][0], ack[0][2], ack[0][2])]
    if wish.spoilt == "beyond" and ack:
        ack[-1] = (*ack[-1][:2], max(last for _, _, last in token.extents) + 1)
    if wish.spoilt == "elsewhere":
        ack = [*ack, ("c" if "c" not in {t for t, *_ in token.extents} else "d", 1, 1)]
    retry = [Retry(t, o, wish.after_ms, wish.error) for t, o in chosen["retry"]]
    dead = [Death(t, o, wish.error) for t, o in chosen["dead"]]
    parts = (tuple(ack), tuple(retry), tuple(dead), tuple(release))
    trims = wish.trims and bool(release) and not (ack or retry or dead)
    return Settle(
        name=name,
        token=token,
        ack=parts[0],
        retry=parts[1],
        dead=parts[2],
        release=parts[3],
        extend_ms=None if trims else wish.extend_ms,
        digest=b"" if trims or not any(parts) else repr(parts).encode(),
        trims=trims,
        release_rest=wish.rest and not trims,
    )


def held_places(record: SubscriptionRecord, lease: GivenLease) -> list[tuple[str, int]]:
    """Topics and offsets of what a lease has, ascending."""
    return sorted((topic, offset) for topic, offset, _ in record.held(lease))


def choose(
    held: Sequence[tuple[str, int]], wanted: Sequence[tuple[str, int]], *, keeps_order: bool
) -> dict[str, list[tuple[str, int]]]:
    """Share out events to actions; behind an event that is retried nothing is settled."""
    acts = [action for action, times in wanted for _ in range(times)]
    chosen: dict[str, list[tuple[str, int]]] = {each: [] for each in ACTIONS}
    for number, place in enumerate(held):
        action = acts[number % len(acts)]
        if keeps_order and any(topic == place[0] for topic, _ in chosen["retry"]):
            action = "release" if action == "release" else "keep"
        chosen[action].append(place)
    return chosen


def ranges(places: Iterable[tuple[str, int]], held: Sequence[tuple[str, int]]) -> list[Range]:
    """Ranges of events; one may span what is not held."""
    found: list[Range] = []
    for topic, offset in places:
        if found and found[-1][0] == topic:
            between = range(found[-1][2] + 1, offset)
            if not any((topic, each) in held for each in between):
                found[-1] = (topic, found[-1][1], offset)
                continue
        found.append((topic, offset, offset))
    return found

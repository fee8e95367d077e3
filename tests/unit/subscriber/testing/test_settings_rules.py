"""A double takes the settings that an aggregator takes, and refuses those that it refuses."""

import json
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.double_rules import NAMES, NUMBERS, SOURCES, TIMES, outcome

from aggregator.wire.subscription_settings import parse_settings as wire_settings
from aggregator.wire.subscription_settings import settings_members as wire_members
from aggregator.wire.subscription_settings import subscription_name_rule_broken
from subscriber.testing import InMemoryAggregator
from subscriber.testing.settings import parse_settings, settings_members

NOW_US = 1_769_860_800_000_000
PATTERNS = ["*", "**", "a.*", "a.**", "**.a", "a*", "*.b.*", "***", "a.é.*", f"{'a' * 247}.*",
            f"{'a' * 248}.*", "a..*"]  # fmt: skip

_numbers = st.sampled_from(NUMBERS)
_topics = st.sampled_from([*NAMES, *PATTERNS])
_begins = st.one_of(
    st.sampled_from(["start", "now", "end", None, 5, [], {}, {"since": "5m", "offsets": {}}]),
    st.builds(lambda time: {"since": time}, st.sampled_from(TIMES)),
    st.builds(
        lambda offsets: {"offsets": offsets},
        st.dictionaries(st.sampled_from(["a", "b.c", "", "a b"]), _numbers, max_size=2),
    ),
)
_fields = {
    "topics": st.one_of(_topics, st.lists(_topics, max_size=3), st.just(["a", "b", "a"])),
    "from": _begins,
    "source": st.sampled_from(SOURCES),
    "order": st.sampled_from(["topic", "none", "other", None, 5, ["topic"]]),
    "lease_ms": _numbers,
    "max_deliveries": _numbers,
    "backoff_ms": st.one_of(_numbers, st.lists(_numbers, max_size=3), st.just([0] * 101)),
    "on_dead": st.sampled_from(["continue", "pause", "stop", None]),
    "stop_after_dead": _numbers,
    "max_leased": _numbers,
    "other": st.just(1),
}
_settings = st.sets(st.sampled_from(sorted(_fields)), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: _fields[name] for name in sorted(names)})
)


@given(drawn=_settings, has_topics=st.sampled_from([True, True, True, False]))
def test_settings_are_taken_as_an_aggregator_takes_them(
    drawn: dict[str, Any], *, has_topics: bool
) -> None:
    check({"topics": ["a"], **drawn} if has_topics else drawn)


def test_each_value_is_taken_as_an_aggregator_takes_it() -> None:
    for number in NUMBERS:
        for field in ("lease_ms", "max_deliveries", "stop_after_dead", "max_leased"):
            check({"topics": ["a"], field: number})
        check({"topics": ["a"], "backoff_ms": [0, number]})
    for name in [*NAMES, *PATTERNS]:
        check({"topics": ["a", name]})
        check({"topics": ["a"], "from": {"offsets": {str(name): 0}}})
    for time in TIMES:
        check({"topics": ["a"], "from": {"since": time}})
    for source in SOURCES:
        check({"topics": ["a"], "source": source})
    for count in (100, 101):
        check({"topics": [f"t-{number}" for number in range(count)]})
        check({"topics": ["a"], "backoff_ms": [0] * count})


def check(settings: dict[str, Any]) -> None:
    """Compare what a double and an aggregator make of settings."""
    expected = outcome(partial(wire_settings, json.dumps(settings).encode()))
    parsed = outcome(partial(parse_settings, settings, NOW_US))
    assert parsed == expected, settings
    if parsed != "refused":
        told = json.loads(json.dumps(wire_members(expected)))
        assert settings_members(parsed) == told


def test_names_of_subscriptions_are_taken_as_an_aggregator_takes_them() -> None:
    aggregator = InMemoryAggregator()
    for name in [*filter(lambda each: isinstance(each, str), NAMES), ".", "...", "x"]:
        refused = subscription_name_rule_broken(str(name)) is not None
        made = outcome(partial(aggregator.create, str(name), {"topics": ["a"]}))
        assert (made == "refused") is refused, name

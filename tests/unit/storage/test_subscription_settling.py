"""Settles on the state of one topic, where a range spans more than its lease holds."""

import pytest

from storage.subscriptions.commands import Settle, Token
from storage.subscriptions.model import SubscriptionSettings, TopicState, Unsettled
from storage.subscriptions.settling import settle_topics
from storage.subscriptions.sweep import SettleRefused

SETTINGS = SubscriptionSettings(topics=("t",))


def test_an_ack_over_a_dead_letter_leaves_what_is_kept_of_it() -> None:
    state = TopicState(
        next_offset=4,
        dead=1,
        ranges=(Unsettled(1, 1, 2, 9, "l", 3, True), Unsettled(3, 4, 1, 9, "l", 3, False)),
    )
    token = Token("i", "l", "c", (("t", 1, 4),))
    settled = settle_topics(
        Settle(name="s", token=token, ack=[("t", 1, 4)]), {"t": state}, SETTINGS, 5
    )
    assert settled["t"].forgotten == [(1, 1)]
    assert (settled["t"].state.acknowledged, settled["t"].state.dead) == (3, 1)
    assert settled["t"].state.ranges == ()


@pytest.mark.parametrize("state", [TopicState(), TopicState(start=2, next_offset=2)])
def test_what_a_seek_or_other_topics_took_away_is_not_acknowledged_in_silence(
    state: TopicState,
) -> None:
    held = TopicState(next_offset=3, ranges=(Unsettled(1, 3, 1, 9, "l", 6, False),))
    token = Token("i", "l", "c", (("t", 1, 3), ("u", 1, 3)))
    settle = Settle(name="s", token=token, ack=[("t", 1, 3), ("u", 1, 3)])
    with pytest.raises(SettleRefused, match="offset 3 of the topic 'u' is not held"):
        settle_topics(settle, {"t": held, "u": state}, SETTINGS, 5)

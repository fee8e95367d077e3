"""Decisions on subscriptions with one protection taken away: what tests must see fail."""

from collections.abc import Callable, Mapping, Sequence

import pytest
from msgspec.structs import replace

from storage.subscriptions import consuming, deliveries, leasing, settling, sweep
from storage.subscriptions.commands import Settle
from storage.subscriptions.deliveries import RunOut
from storage.subscriptions.leasing import Draft, Grants
from storage.subscriptions.model import SubscriptionSettings, TopicState, Unsettled
from storage.subscriptions.sweep import TopicSettled
from storage.subscriptions.working_copy import WorkingCopy

Weakening = Callable[[pytest.MonkeyPatch], None]


def settle_what_others_hold(patch: pytest.MonkeyPatch) -> None:
    """No fencing: whoever has had events settles them, whoever has them now."""
    patch.setattr(consuming, "_expires_us", lambda *_: 2**62)
    patch.setattr(sweep, "check_held", lambda *_: None)


def settle_when_it_has_run_out(patch: pytest.MonkeyPatch) -> None:
    """No fencing: a lease counts as open as long as nobody has been given its events."""
    expires = consuming._expires_us

    def never(states: Sequence[TopicState], lease: str) -> int | None:
        return None if expires(states, lease) is None else 2**62

    patch.setattr(consuming, "_expires_us", never)


def acknowledge_all_below(patch: pytest.MonkeyPatch) -> None:
    """No floor: an acknowledgement moves the place past what is below it."""
    settle = settling.settle_topics

    def cumulative(
        command: Settle,
        states: Mapping[str, TopicState],
        settings: SubscriptionSettings,
        now_us: int,
    ) -> dict[str, TopicSettled]:
        settled = settle(command, states, settings, now_us)
        for topic, _, last in command.ack:
            done = settled[topic]
            above = [each for each in done.state.ranges if each.first > last]
            below = done.state.unsettled - sum(each.count for each in above)
            done.acknowledged += below
            done.state = replace(
                done.state, ranges=tuple(above), acknowledged=done.state.acknowledged + below
            )
        return settled

    patch.setattr(consuming, "settle_topics", cumulative)


def pass_what_ran_out(patch: pytest.MonkeyPatch) -> None:
    """No floor: time moves the place past events whose lease has run out."""

    def passing(state: TopicState, _settings: SubscriptionSettings, now_us: int) -> RunOut:
        kept = tuple(each for each in state.ranges if not each.lease or each.until_us > now_us)
        passed = state.unsettled - sum(each.count for each in kept)
        if not passed:
            return RunOut(state, ())
        return RunOut(replace(state, ranges=kept, acknowledged=state.acknowledged + passed), ())

    patch.setattr(consuming, "run_out", passing)


def hand_out_the_next_while_some_are_leased(patch: pytest.MonkeyPatch) -> None:
    """No order: a topic hands out what is new while it is leased."""

    def take(self: Grants, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            self._take_waiting(draft)
            self._take_new(draft)

    patch.setattr(Grants, "take", take)


def do_not_count_what_dies(patch: pytest.MonkeyPatch) -> None:
    """No law: the count of dead letters is not written."""
    put = WorkingCopy.put

    def without_dead(self: WorkingCopy, subscription: object, topic: str, state: object) -> None:
        if isinstance(state, TopicState):
            state = replace(state, dead=0)
        put(self, subscription, topic, state)  # type: ignore[arg-type]

    patch.setattr(WorkingCopy, "put", without_dead)


def let_neighbours_suffer(patch: pytest.MonkeyPatch) -> None:
    """No bounds: what ran out comes again in leases as large as before."""
    patch.setattr(leasing, "largest_lease", lambda *_: 0)


def die_in_company(patch: pytest.MonkeyPatch) -> None:
    """No bounds: an event is declared dead by its count, whoever was in its last lease."""

    def by_count(leased: Unsettled, settings: SubscriptionSettings) -> bool:
        return leased.count == 1 and leased.deliveries >= settings.max_deliveries

    for module in (sweep, deliveries):
        patch.setattr(module, "is_dead", by_count)


WEAKENINGS: Sequence[Weakening] = [
    settle_what_others_hold,
    settle_when_it_has_run_out,
    acknowledge_all_below,
    pass_what_ran_out,
    hand_out_the_next_while_some_are_leased,
    do_not_count_what_dies,
    let_neighbours_suffer,
    die_in_company,
]

"""Two stores on one subscription: what one has decided, another may have overtaken."""

from collections.abc import Sequence

import pytest
from support.events import event
from support.scene import Scene
from support.stopped_look import look_too_early, overtaken

from storage.errors import BatchRefused
from storage.subscriptions.commands import Create, Lease, Settle, Token
from storage.subscriptions.model import (
    Beginning,
    Order,
    Subscription,
    SubscriptionSettings,
    TopicState,
    TopicView,
)
from storage.subscriptions.outcomes import Leased, Outcome, Refusal, Settled

TAKEN_AWAY = pytest.mark.parametrize("early", [False, True], ids=["protected", "unprotected"])


async def begin(scene: Scene, *, order: Order = Order.TOPIC) -> None:
    """Four events, the first of which is acknowledged."""
    await scene.a.append([event("t", str(number)) for number in range(4)])
    settings = SubscriptionSettings(
        topics=("t",), begins=Beginning(at="start"), order=order, backoff_ms=(0,)
    )
    await scene.a.apply([Create(Subscription(name="s", id="id", settings=settings), {})])
    await scene.a.apply([lease("first", 1)])
    await scene.a.apply([settle("first", 1, 1)])


def lease(id_: str, most: int = 1) -> Lease:
    return Lease(name="s", lease=id_, max_events=most, topics=["t"])


def settle(id_: str, first: int, last: int) -> Settle:
    token = Token("id", id_, "worker", (("t", 1, 4),))
    return Settle(name="s", token=token, ack=[("t", first, last)], digest=f"{first}".encode())


def offsets(outcome: Outcome) -> list[int]:
    assert isinstance(outcome, Leased), outcome
    return [o for each in outcome.granted for o in range(each.first, each.last + 1)]


async def state(scene: Scene) -> TopicState:
    views: list[TopicView] = []
    await scene.b.view_topics("s", views.extend)
    return views[0].state


@TAKEN_AWAY
@pytest.mark.parametrize("order", Order)
async def test_events_that_two_lease_at_once_have_one_holder(
    scene: Scene, order: Order, *, early: bool
) -> None:
    await begin(scene, order=order)
    if early:
        await look_too_early(scene)
    of_b: list[Sequence[Outcome]] = []

    async def lease_as_well() -> None:
        of_b.append(await scene.b.apply([lease("b")]))

    of_a = await overtaken(scene, lease("a"), lease_as_well, early=early)
    given = sorted(offsets(of_a) + offsets(of_b[0][0]))
    if early:
        assert given == [2, 2], "two have it"
    else:
        assert given == ([2] if order is Order.TOPIC else [2, 3])


@TAKEN_AWAY
async def test_a_settle_by_a_lease_that_ran_out_meanwhile_is_refused(
    scene: Scene, *, early: bool
) -> None:
    await begin(scene)
    await scene.a.apply([lease("a")])
    if early:
        await look_too_early(scene)
    given: list[int] = []

    async def lease_what_has_run_out() -> None:
        given.extend(offsets((await scene.b.apply([lease("b")]))[0]))

    # For b the lease of 30 s has run out.
    try:
        settled = await overtaken(
            scene, settle("a", 2, 2), lease_what_has_run_out, early=early, ahead_s=40
        )
    except BatchRefused:
        # Every 32nd change of Postgres writes a new row, and without the protection both did.
        assert early
        return
    kept = await state(scene)
    if early:
        assert (given, kept.ranges) == ([2], ()), "what b holds is settled"
        assert isinstance(settled, Settled)
    elif scene.backend == "postgres":
        assert given == [2]
        assert isinstance(settled, Refusal)
        assert [each.lease for each in kept.ranges] == ["b"]
    else:
        # Whoever comes second has to wait.
        assert isinstance(settled, Settled)
        assert given == [3]


@TAKEN_AWAY
async def test_acknowledgements_of_two_at_once_are_both_kept(scene: Scene, *, early: bool) -> None:
    await begin(scene)
    await scene.a.apply([lease("a", 3)])
    if early:
        await look_too_early(scene)

    async def settle_others() -> None:
        (settled,) = await scene.b.apply([settle("a", 3, 3)])
        assert isinstance(settled, Settled)

    settled = await overtaken(scene, settle("a", 2, 2), settle_others, early=early)
    assert isinstance(settled, Settled)
    kept = await state(scene)
    left = [o for each in kept.ranges for o in range(each.first, each.last + 1)]
    assert left == ([3, 4] if early else [4]), "an acknowledgement is lost"
    assert kept.acknowledged == (2 if early else 3)

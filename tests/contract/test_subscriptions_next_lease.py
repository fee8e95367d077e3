"""A lease that carries a settle: both or neither, and the same again is the same."""

from support.http import Client
from support.subscribing import counts, fill, lease, look, make, offsets_of, refused


async def test_the_next_lease_settles_the_one_before(client: Client) -> None:
    await fill(client, 30)
    await make(client, max_leased=10)
    held = await lease(client, 10)
    settled = {"lease": held["lease"], "ack": [["orders", 1, 10]]}
    following = await lease(client, 10, settle=settled)
    # What was leased made room for it, and nobody else got in between.
    assert offsets_of(following) == list(range(11, 21))
    assert following["settled"] == {
        "acknowledged": 10,
        "retried": 0,
        "dead": 0,
        "released": 0,
        "expires_at": None,
        "expires_in_ms": None,
    }
    assert following["lag"]["events"] == 20
    assert counts(await look(client)) == [10, 0, 10, 10]


async def test_sent_again_it_settles_nothing_more_and_leases_what_is_there(client: Client) -> None:
    await fill(client, 30)
    await make(client, order="none")
    held = await lease(client, 10)
    settled = {"lease": held["lease"], "ack": [["orders", 1, 10]]}
    first = await lease(client, 10, settle=settled)
    again = await lease(client, 10, settle=settled)
    assert again["settled"] == first["settled"]
    assert offsets_of(again) == list(range(21, 31))
    assert counts(await look(client)) == [10, 0, 20, 0]


async def test_if_its_settle_is_refused_nothing_is_leased(client: Client) -> None:
    await fill(client, 30)
    await make(client, order="none")
    held = await lease(client, 10)
    body = {"consumer": "w", "wait_ms": 20_000}
    beyond = {"lease": held["lease"], "ack": [["orders", 1, 11]]}
    await refused(client, "lease", body | {"settle": beyond}, 422)
    over = {"lease": held["lease"], "release": [["orders", 1, 10]]}
    assert offsets_of(await lease(client, 5, settle=over)) == list(range(1, 6))
    late = {"lease": held["lease"], "ack": [["orders", 1, 1]]}
    problem = await refused(client, "lease", body | {"settle": late}, 409)
    assert problem["code"] == "lease_lost"
    assert counts(await look(client)) == [0, 0, 5, 25]


async def test_its_settle_is_done_even_if_there_is_nothing_to_lease(client: Client) -> None:
    await fill(client, 5)
    await make(client)
    held = await lease(client)
    settled = {"lease": held["lease"], "ack": [["orders", 1, 5]]}
    answer = await lease(client, wait_ms=1, settle=settled)
    assert (answer["lease"], answer["settled"]["acknowledged"]) == (None, 5)
    assert counts(await look(client)) == [5, 0, 0, 0]

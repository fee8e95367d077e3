"""Subscriptions that another aggregator deletes while a consumer waits here."""

import asyncio

from support.http import Client, MakeClient
from support.subscribing import events_of, fill, make
from support.tasks import StartSoon
from support.waiting import held

LONG_MS = 60_000
"""Longer than the test waits: what is answered is answered for another reason."""


async def test_who_waits_is_told_that_another_deleted_the_subscription(
    make_client: MakeClient, start_soon: StartSoon
) -> None:
    here, elsewhere = await make_client(), await make_client()
    await make(here)
    body = {"consumer": "c", "wait_ms": LONG_MS}
    waiting = start_soon(here.post("/subscriptions/billing/lease", json=body))
    await held(here, 1)
    await _delete(elsewhere)
    response = await asyncio.wait_for(waiting, LONG_MS / 2000)
    assert response.status == 404


async def test_who_waits_gets_what_one_has_that_another_made_anew(
    make_client: MakeClient, start_soon: StartSoon
) -> None:
    here, elsewhere = await make_client(), await make_client()
    await fill(here, 2)
    await make(here, begins="now")
    body = {"consumer": "c", "wait_ms": LONG_MS}
    waiting = start_soon(here.post("/subscriptions/billing/lease", json=body))
    await held(here, 1)
    await _delete(elsewhere)
    await make(elsewhere)
    response = await asyncio.wait_for(waiting, LONG_MS / 2000)
    # It may have been looked for while there was none.
    if response.status != 404:
        assert events_of(await response.json()) == [("orders", 1), ("orders", 2)]


async def _delete(client: Client) -> None:
    response = await client.delete("/subscriptions/billing")
    assert response.status == 204

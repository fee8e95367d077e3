"""A log that holds another content is read on at once, also if nothing tells of it any more."""

import asyncio
from pathlib import Path

import pytest
from support.load import until
from support.scripted import Scripted
from unit.publisher.ship.shipping import Shipping

from publisher.ship import following as module
from publisher.ship.files import watch

pytestmark = pytest.mark.usefixtures("nothing_is_left_to_asyncio")

NEVER_S = 1e6


async def test_log_that_was_emptied_is_read_on_without_another_sign(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_EVERYTHING_S", NEVER_S)
    monkeypatch.setattr(module, "_LONGEST_WAIT_S", NEVER_S)
    log = tmp_path / "app.log"
    log.write_bytes(b"one\ntwo\n")
    shipping = Shipping(server.url)
    following = asyncio.create_task(shipping.follow(tmp_path / "state", log))
    await until(lambda: len(server.log) == 2)
    for number in range(3):
        # Emptied and written in one go, so that all signs of it come at once.
        log.write_bytes(b"%d\n" % number)
        await until(lambda: len(server.log) == 3 + number)  # noqa: B023
    shipping.stop.set()
    await following

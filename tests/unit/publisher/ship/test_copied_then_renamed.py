"""A log that was copied and emptied, and then renamed, while nobody shipped it."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from support.load import until
from support.scripted import Scripted
from unit.publisher.ship.shipping import Shipping

from publisher.ship.log_events import line_bytes

pytestmark = pytest.mark.usefixtures("nothing_is_left_to_asyncio")


def lines_of(server: Scripted) -> list[bytes]:
    """The lines of all events, of those that are sent again once."""
    sent = [json.loads(line) for body in server.bodies for line in body.split(b"\n")]
    events = {event["event_id"]: event for event in sent}
    return sorted(line_bytes(event["payload"]) for event in events.values())


async def test_copy_of_a_log_that_was_emptied_and_then_renamed_is_gone_on_with(
    server: Scripted, tmp_path: Path
) -> None:
    log, state = tmp_path / "logs" / "app.log", tmp_path / "state"
    log.parent.mkdir()
    log.write_bytes(b"one\ntwo\n")
    await Shipping(server.url).once_with(state, log)
    with log.open("ab") as file:
        file.write(b"three\n")
    shutil.copyfile(log, log.with_name("app.log.2"))
    # The same file, which holds something else by now, and has another name.
    log.write_bytes(b"four\n")
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(b"five\n")
    shipping = Shipping(server.url)
    following = asyncio.create_task(shipping.follow(state, log))
    await until(lambda: {b"three\n", b"five\n"} <= set(lines_of(server)))
    shipping.stop.set()
    await following
    stored = lines_of(server)
    assert stored == sorted(set(stored))
    assert shipping.told == []

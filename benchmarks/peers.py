"""Peers, where they are installed: the same events on the same machine, beside the service.

- NATS JetStream with `Nats-Msg-Id` (`peer_jetstream`): an id is known for two minutes only, nothing
  is counted, and a message is acknowledged before it is on disk (the server syncs every two
  minutes), so that losing power loses what was acknowledged. If the server can sync before it
  acknowledges (`sync_interval: always`), that is measured too: the durability of the service.
- A service that inserts each event (`peer_insert`), written as people would with FastAPI and
  asyncpg: durable commits, ids known for ever, counted; no offsets.
"""

from functools import partial

from benchmarks import measuring, peer_jetstream
from benchmarks.databases import MakeDatabase, sqlite_file
from benchmarks.measuring import Measured, Sent, WrongCounts, check, through
from benchmarks.rounds import Part, Runs, Setting, measure_each
from benchmarks.serving import insert_peer, insert_peer_missing
from benchmarks.standard import (
    BATCHES,
    POSTGRES,
    POSTGRES_SINGLE,
    SINGLE,
    SQLITE,
    SQLITE_SINGLE,
    single_events,
)

JETSTREAM = "JetStream, no sync before its answer"
JETSTREAM_SYNC = "JetStream, synced before its answer"
INSERT, INSERT_SINGLE = "an insert an event, batches of 50", "an insert an event, single events"
POSTGRES_50 = "Postgres, batches of 50"

_ABOUT_JETSTREAM = (
    "JetStream knows an id for two minutes and counts nothing. Without a sync before its answer, "
    "what it acknowledged since its last one (two minutes ago at most) is lost with the power; "
    "what the service acknowledged is on disk, counted, and known for ever."
)
_ABOUT_INSERTS = (
    "An insert an event: durable commits, ids known for ever, counts; no offsets, no verdicts."
)

_FIFTIES = BATCHES._replace(batch=50)


async def measure(setting: Setting) -> Part:
    """Measure each peer and the service beside it once a round."""
    part = Part(setting.say)
    jetstream = [JETSTREAM, JETSTREAM_SYNC]
    if why := peer_jetstream.missing():
        for name in jetstream:
            part.miss(name, why)
        jetstream = []
    elif why := peer_jetstream.sync_missing():
        part.miss(JETSTREAM_SYNC, why)
        jetstream = [JETSTREAM]
    if jetstream:
        part.notes.append(_ABOUT_JETSTREAM)
    inserts = True
    if why := insert_peer_missing():
        for name in (INSERT, INSERT_SINGLE):
            part.miss(name, why)
        inserts = False
    else:
        part.notes.append(_ABOUT_INSERTS)
    for _ in range(setting.rounds):
        await measure_each(part, _runs(setting, jetstream, inserts=inserts))
    for name in (SQLITE, POSTGRES):
        for peer in jetstream:
            part.compare(name, peer)
    part.compare(POSTGRES_50, INSERT)
    part.compare(POSTGRES_SINGLE, INSERT_SINGLE)
    part.compare(SQLITE_SINGLE, INSERT_SINGLE)
    return part


def _runs(setting: Setting, jetstream: list[str], *, inserts: bool) -> Runs:
    batches = Sent.make(BATCHES, setting.events)
    runs = {
        name: partial(peer_jetstream.publish, batches, sync=name == JETSTREAM_SYNC)
        for name in jetstream
    }
    runs[SQLITE] = partial(measuring.service, sqlite_file, batches)
    runs[POSTGRES] = partial(measuring.service, setting.postgres, batches)
    if inserts:
        # A fifth of the events: it is slower by as much, and more.
        fifties = Sent.make(_FIFTIES, max(100, setting.events // 5))
        single = Sent.make(SINGLE, single_events(setting.events) // 5 + 2)
        runs[INSERT] = partial(_insert, setting.postgres, fifties)
        runs[POSTGRES_50] = partial(measuring.service, setting.postgres, fifties)
        runs[INSERT_SINGLE] = partial(_insert, setting.postgres, single)
        runs[POSTGRES_SINGLE] = partial(measuring.service, setting.postgres, single)
        runs[SQLITE_SINGLE] = partial(measuring.service, sqlite_file, single)
    return runs


async def _insert(make: MakeDatabase, sent: Sent) -> Measured:
    async with make() as database:
        with insert_peer(database.location) as server:
            measured, _ = await through([server], sent)
            if measured.refused:
                raise WrongCounts("the peer refused requests")
            await check(server.port, sent.events, sent.new)
        return measured._replace(bytes_per_event=await database.size() / sent.new)

"""The memory of the aggregator's processes while 20 clients read payloads of 1 MiB."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks import child
from benchmarks.databases import MakeDatabase
from benchmarks.measuring import Measured, Sent, check, through
from benchmarks.serving import aggregator
from benchmarks.workload import Workload

READERS = 20

_PAYLOADS = Workload(batch=1, connections=4, duplicates=0, topics=1, payload_bytes=2**20)
_TOPIC = "topic-0"
_SAMPLED_EVERY_S = 0.003


async def measure(
    make: MakeDatabase, events: int, how: str, options: Sequence[str] = ()
) -> Measured:
    """Measure an aggregator that was started on a database with such payloads.

    Args:
        make: makes the database.
        events: the number of payloads; each reader reads all of them.
        how: `pages` by their Link, or `lines` of NDJSON.
        options: more arguments of the aggregator that is read.

    Returns:
        The events/s of all readers together, the greatest sum of the resident memory of all
        processes, and the sum of the greatest that each had.

    Raises:
        NotServed: the server does not answer NDJSON.
        WrongCounts: other events were stored than were sent.
    """
    async with make() as database:
        sent = Sent.make(_PAYLOADS, events)
        with aggregator(database.arguments) as server:
            await through([server], sent)
            await check(server.port, events, events)
        # A new one: what publishing took is not counted.
        with aggregator([*database.arguments, *options]) as server:
            processes = server.processes()
            sampling = asyncio.create_task(_peak_bytes(processes))
            try:
                ended = await child.run("payload_client", server.port, _TOPIC, events, READERS, how)
            finally:
                sampling.cancel()
                (peak,) = await asyncio.gather(sampling, return_exceptions=True)
            if isinstance(peak, BaseException):
                raise peak
            high_water = sum(map(_high_water_bytes, processes))
    return Measured(
        READERS * events / ended["seconds"],
        resident_mib=peak / 2**20,
        high_water_mib=high_water / 2**20,
        refused=ended["refused"] + ended["cut_off"],
    )


async def _peak_bytes(processes: list[psutil.Process]) -> int:
    """Sample until it is cancelled; returns the greatest sum of the resident memory."""
    peak = 0
    try:
        while True:
            peak = max(peak, sum(process.memory_info().rss for process in processes))
            await asyncio.sleep(_SAMPLED_EVERY_S)
    except asyncio.CancelledError:
        return peak


def _high_water_bytes(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024

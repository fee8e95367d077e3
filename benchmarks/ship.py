"""What shipping log files costs, of this checkout and of another one.

    python -m benchmarks ship --against ../before --events 300000

One large file is shipped once to an empty SQLite file, without a checkpoint and with one; the time
is that of the whole command, its start included. Then many quiet files are followed: after a while
in which nothing happens, the processor time of the shipper is taken over some seconds, in which
nothing happens at all, and over as many in which a file that it does not ship comes into the
directory each second. Both checkouts ship to the aggregator of this one, in turn; which of them
goes first changes from round to round.
"""

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil

from benchmarks.databases import sqlite_file
from benchmarks.measuring import Measured, check, stats
from benchmarks.rounds import Part, Setting, measure_each
from benchmarks.serving import OWN_CHECKOUT, aggregator, interpreter

FILES = 1_500
LASTS_S = 10.0
SETTLING_S = 5.0
LINE_BYTES = 120

LARGE = "one large file"
CHECKPOINTED = "one large file, with a checkpoint"
QUIET = f"{FILES:,} quiet files, followed for {LASTS_S:.0f} s"
FOREIGN = f"{QUIET}, a foreign file each second"
ONCE = {LARGE: False, CHECKPOINTED: True}
"""The measurements of a large file, and whether there is a checkpoint."""
FOLLOWED = (QUIET, FOREIGN)

_LIMIT_S = 120.0


def before(name: str) -> str:
    """Return the name of the other checkout's measurement."""
    return f"{name}, the other checkout"


async def measure(setting: Setting) -> Part:
    """Measure both checkouts once a round, in turn; without another one, this one."""
    part = Part(setting.say)
    checkouts = {"": OWN_CHECKOUT}
    if setting.against is None:
        for name in (*ONCE, *FOLLOWED):
            part.miss(
                before(name),
                "there is nothing to compare with: name a checkout, --against DIRECTORY",
            )
    else:
        checkouts[before("")] = setting.against
    with tempfile.TemporaryDirectory(prefix="bench-ship-") as directory:
        log = Path(directory) / "app.log"
        _fill(log, setting.events)
        for number in range(setting.rounds):
            order = list(checkouts) if number % 2 == 0 else list(reversed(checkouts))
            for name, keeps in ONCE.items():
                await measure_each(
                    part,
                    {
                        name + whose: partial(
                            _once, checkouts[whose], log, setting.events, keeps=keeps
                        )
                        for whose in order
                    },
                )
            for whose in order:
                quiet, foreign = await _followed(checkouts[whose])
                part.add(QUIET + whose, quiet)
                part.add(FOREIGN + whose, foreign)
    for name in ONCE:
        part.compare(name, before(name))
    return part


def _fill(log: Path, lines: int) -> None:
    """Write lines of 120 bytes, none of which is like another."""
    with log.open("wb") as file:
        for number in range(lines):
            line = b"2026-03-01T12:00:00Z INFO shop: order %d of customer %d " % (
                number,
                number % 977,
            )
            file.write(line.ljust(LINE_BYTES - 1, b".") + b"\n")


async def _once(checkout: Path, log: Path, lines: int, *, keeps: bool) -> Measured:
    async with sqlite_file() as database:
        with aggregator(database.arguments) as server:
            checkpoint = log.with_name("checkpoint")
            options = ["--checkpoint", str(checkpoint)] if keeps else []
            before_s, began_s = server.cpu_s(), time.perf_counter()
            shipper = subprocess.Popen(  # noqa: ASYNC220, S603 - ours, waited for in a thread
                _command(checkout, server.port, [*options, str(log)]),
                cwd=checkout,
                stdout=subprocess.DEVNULL,
            )
            _, status, usage = await asyncio.to_thread(os.wait4, shipper.pid, 0)
            seconds = time.perf_counter() - began_s
            shipper.returncode = os.waitstatus_to_exitcode(status)
            checkpoint.unlink(missing_ok=True)
            if shipper.returncode:
                raise RuntimeError(f"the shipper ended with status {shipper.returncode}")
            cpu_s = server.cpu_s() - before_s
            await check(server.port, lines, lines)
    own_s = usage.ru_utime + usage.ru_stime
    return Measured(
        lines / seconds,
        cpu_s_per_million=cpu_s / lines * 1e6,
        generator_cpu_s_per_million=own_s / lines * 1e6,
    )


async def _followed(checkout: Path) -> tuple[Measured, Measured]:
    """Follow quiet files; return what that costs without and with foreign files."""
    with tempfile.TemporaryDirectory(prefix="bench-ship-") as name:
        directory = Path(name) / "logs"
        directory.mkdir()
        for number in range(FILES):
            (directory / f"{number}.log").write_text(f"the only line of {number}\n")
        async with sqlite_file() as database:
            with aggregator(database.arguments) as server:
                options = [
                    *("--follow", "--checkpoint", str(Path(name) / "checkpoint")),
                    str(directory / "*.log"),
                ]
                with _running(_command(checkout, server.port, options), checkout) as shipper:
                    await _until_stored(server.port, FILES)
                    await asyncio.sleep(SETTLING_S)
                    quiet_s = await _costs(shipper, None)
                    foreign_s = await _costs(shipper, directory)
                await check(server.port, FILES, FILES)
    return Measured(0, shipper_cpu_s=quiet_s), Measured(0, shipper_cpu_s=foreign_s)


async def _costs(shipper: psutil.Process, foreign: Path | None) -> float:
    """Return the processor time that a shipper takes in some seconds.

    Args:
        shipper: the process.
        foreign: where a file comes each second that is not shipped; None: nothing happens.
    """
    before_s = _cpu_s(shipper)
    until_s = time.perf_counter() + LASTS_S
    number = 0
    while (left_s := until_s - time.perf_counter()) > 0:
        if foreign is not None:
            (foreign / f"{number}.foreign").write_text("not for the shipper\n")
            number += 1
        await asyncio.sleep(min(1.0, left_s))
    return _cpu_s(shipper) - before_s


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _until_stored(port: int, events: int) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while (await stats(port))["unique_processed"] < events:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def _command(checkout: Path, port: int, options: Sequence[str]) -> list[str]:
    url = f"http://127.0.0.1:{port}"
    command = [interpreter(checkout), "-m", "publisher", "ship", "--url", url, "--topic", "logs"]
    return [*command, *options]


@contextmanager
def _running(command: Sequence[str], checkout: Path) -> Iterator[psutil.Process]:
    with subprocess.Popen(  # noqa: S603 - what it runs is ours
        command, cwd=checkout, stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()

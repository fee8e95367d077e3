"""Time from the start of a process until it is ready, this checkout's beside another one's.

    python -m benchmarks start --against ../before --rounds 15

An aggregator is started on an empty SQLite file and asked for `/ready` as soon as it listens. Both
checkouts are started in turn; which of them goes first changes from round to round.
"""

import asyncio
import json
import os
import time
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.databases import sqlite_file
from benchmarks.measuring import Measured
from benchmarks.rounds import Part, Setting
from benchmarks.serving import OWN_CHECKOUT, interpreter

NAME = "SQLite, start to ready"
BEFORE = f"{NAME}, the other checkout"

_LIMIT_S = 60.0


async def measure(setting: Setting) -> Part:
    """Measure both checkouts once a round, in turn; without another one, this one."""
    part = Part(setting.say)
    checkouts = {NAME: OWN_CHECKOUT}
    if setting.against is None:
        part.miss(BEFORE, "there is nothing to compare with: name a checkout, --against DIRECTORY")
    else:
        checkouts[BEFORE] = setting.against
    for checkout in checkouts.values():
        # The first start writes the bytecode.
        await _start(checkout)
    for number in range(setting.rounds):
        for name in checkouts if number % 2 == 0 else reversed(checkouts):
            part.add(name, Measured(events_s=0, start_ms=await _start(checkouts[name]) * 1000))
    return part


async def _start(checkout: Path) -> float:
    """Start an aggregator and end it; returns the seconds until it was ready."""
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    async with sqlite_file() as database:
        begin_s = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            interpreter(checkout),
            *("-m", "aggregator", "--port", "0", *database.arguments),
            cwd=checkout,
            env=environment,
            stdout=PIPE,
        )
        try:
            async with asyncio.timeout(_LIMIT_S):
                await _ready(await _port(process))
            return time.perf_counter() - begin_s
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.communicate()


async def _port(process: Process) -> int:
    if process.stdout is None:
        raise RuntimeError("the process has no output")
    async for line in process.stdout:
        if b'"event":"listening"' in line:
            return urlsplit(json.loads(line)["url"]).port or 0
    raise RuntimeError("the aggregator does not listen")


async def _ready(port: int) -> None:
    status = b""
    while status != b"200":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        status = (await reader.read()).split(b" ", 2)[1]
        writer.close()

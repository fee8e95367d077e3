"""Clients that run as processes of their own, so that they share no interpreter with the generator.

Each is a module that takes its arguments from the command line and prints one JSON object.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from typing import Any

from benchmarks.client_result import NotServed
from benchmarks.serving import OWN_CHECKOUT


async def run(module: str, *arguments: object) -> dict[str, Any]:
    """Run a client to its end.

    Args:
        module: the name of the module within `benchmarks`.
        arguments: its command line.

    Returns:
        What it printed.

    Raises:
        NotServed: the server does not offer what the client asks for.
        RuntimeError: the client failed; what it says is on standard error.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", f"benchmarks.{module}", *map(str, arguments)),
        cwd=OWN_CHECKOUT,
        stdout=PIPE,
    )
    try:
        printed, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"benchmarks.{module} ended with status {process.returncode}")
    result: dict[str, Any] = json.loads(printed)
    if "not_served" in result:
        raise NotServed(result["not_served"])
    return result

"""Clients that run as processes of their own, so that they share no interpreter with the generator.

Each is a module that takes its arguments from the command line and prints one JSON object.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
    return _result(printed)


class Running:
    """A client that goes on, and says more than one thing."""

    def __init__(self, module: str, process: Process) -> None:
        self._module = module
        self._process = process

    async def said(self) -> dict[str, Any]:
        """Return the next thing that it says.

        Raises:
            NotServed: the server does not offer what the client asks for.
            RuntimeError: the client has ended; what it says is on standard error.
        """
        if self._process.stdout is None:
            raise RuntimeError("the process has no output")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"benchmarks.{self._module} has ended")
        return _result(line)

    def end_input(self) -> None:
        """End its standard input."""
        if self._process.stdin is not None:
            self._process.stdin.close()


@asynccontextmanager
async def running(module: str, *arguments: object) -> AsyncIterator[Running]:
    """Run a client for as long as the context lasts.

    Args:
        module: the name of the module within `benchmarks`.
        arguments: its command line.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", f"benchmarks.{module}", *map(str, arguments)),
        cwd=OWN_CHECKOUT,
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        yield Running(module, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _result(printed: bytes) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(printed)
    if "not_served" in result:
        raise NotServed(result["not_served"])
    return result

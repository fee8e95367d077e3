"""The load generator's command as a process of its own."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]


class Ended(NamedTuple):
    """How a run ended, what it wrote, and the report in its JSON file."""

    status: int
    out: str
    err: str
    report: dict[str, Any]


async def started(url: str, *arguments: str) -> asyncio.subprocess.Process:
    """The command, under way."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "publisher", "load", "--url", url, *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def load(url: str, directory: Path, *arguments: str) -> Ended:
    """Run the command to its end."""
    file = directory / "report.json"
    command = await started(url, "--json", str(file), *arguments)
    out, err = await command.communicate()
    report = json.loads(file.read_text()) if file.exists() else {}
    assert command.returncode is not None
    return Ended(command.returncode, out.decode(), err.decode(), report)

"""Commands whose output is read no further: no traceback, and what else they do is done."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from support.command import environment

ROOT = Path(__file__).parents[2]
LINE = (
    '{"event":"request","path":"/stats","status":200,"duration_ms":1.0,'
    '"timestamp":"2026-11-30T02:00:00.000000Z","level":"info"}\n'
)


async def run(*arguments: str | Path, to: Path | None = None, err: bool = False) -> tuple[int, str]:
    """Run a command; gives its exit status and what it wrote on standard error.

    to: what standard output is; without it, a pipe that nobody reads. err: standard error too.
    """
    env = environment()
    env.pop("PYTHONUNBUFFERED", None)
    if to is None:
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open(to, os.O_WRONLY)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *map(str, arguments)),
            cwd=ROOT,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writing,
            stderr=writing if err else asyncio.subprocess.PIPE,
        )
    finally:
        os.close(writing)
    _, told = await process.communicate()
    assert process.returncode is not None
    return process.returncode, (told or b"").decode()


async def test_help_that_nobody_reads_is_no_failure() -> None:
    commands = [
        ["aggregator"],
        ["aggregator", "logs", "report"],
        ["publisher", "load"],
        ["subscriber"],
    ]
    ended = await asyncio.gather(*(run(*command, "--help") for command in commands))
    assert ended == [(0, "")] * len(commands)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Where a run of `load` and a report are written to."""
    return {kind: tmp_path / kind for kind in ("load.json", "load.html", "report.html")}


async def test_what_a_command_does_is_done_for_nobody_too(
    url: str, files: dict[str, Path], tmp_path: Path
) -> None:
    lines = tmp_path / "lines.log"
    lines.write_text(LINE)
    target = ("--url", url)
    load = (
        *("publisher", "load", *target, "--events", "20", "--topics", "load"),
        *("--json", files["load.json"], "--chart", files["load.html"]),
    )
    ship = ("publisher", "ship", lines, "--topic", "ship", *target)
    loaded, shipped, reported, verified = await asyncio.gather(
        run(*load),
        run(*ship),
        run("aggregator", "logs", "report", lines, "--html", files["report.html"]),
        run("aggregator", "verify", "--database", tmp_path / "events.db"),
    )
    assert loaded == shipped == reported == (0, "")
    assert all(file.stat().st_size for file in files.values())
    # Whoever wants to know whether all agrees has to read it.
    assert verified == (2, "aggregator: can't write to standard output: Broken pipe\n")


async def test_a_full_disk_is_one_sentence_and_the_files_are_written(
    url: str, files: dict[str, Path], tmp_path: Path
) -> None:
    lines = tmp_path / "lines.log"
    lines.write_text(LINE)
    full = Path("/dev/full")
    told = "cannot write to standard output: No space left on device"
    target = ("--url", url)
    follow = ("subscriber", "follow", "a", "--from", "start", *target, "--until-caught-up")
    await run("publisher", "ship", lines, "--topic", "a", *target)
    ended = await asyncio.gather(
        run("publisher", "ship", lines, "--topic", "full", *target, to=full),
        run("publisher", "load", *target, "--events", "9", "--json", files["load.json"], to=full),
        run("aggregator", "--help", to=full),
        # Nobody can be told that it was refused, but for the status.
        run("publisher", "load", "--events", "0", err=True),
        run(*follow, to=full),
    )
    assert ended[0] == ended[1] == (1, f"python -m publisher: {told}\n")
    assert ended[2] == (2, f"aggregator: {told.replace('cannot', 'can' + chr(39) + 't')}\n")
    assert ended[3] == (2, "")
    assert ended[4] == (1, f"python -m subscriber: {told}\n")
    assert files["load.json"].stat().st_size

"""The first stage of a run starts no process and no database server, and is held to that."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import uvloop
from support.stages import STAGES, nothing_is_started, refused_so_far, select

ROOT = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-c", ""]
SAMPLE = {
    "all": "tests/unit/http/test_problem_details.py",
    "some": "tests/unit/repository/test_stages.py",
    "none": "tests/contract/test_one_event.py",
    "a database": "tests/unit/storage/test_extremes.py",
}
"""A module of each kind, by which of its tests start nothing."""
REFUSED = pytest.raises(pytest.fail.Exception, match='usefixtures\\("processes"\\)')


def forked() -> None:
    if not os.fork():
        os._exit(0)


async def executed() -> None:
    await asyncio.create_subprocess_exec(*PROGRAM)


async def in_a_shell() -> None:
    await asyncio.create_subprocess_shell("true")


async def connected() -> None:
    await asyncpg.connect("postgresql://nobody@/nothing?host=/nowhere")


def connected_over_tcp() -> None:
    with socket.socket() as client:
        client.connect(("127.0.0.1", 5432))


def on(
    loop: Callable[[], asyncio.AbstractEventLoop], start: Callable[[], Coroutine[Any, Any, None]]
) -> Callable[[], None]:
    def run() -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(start())

    return run


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(lambda: subprocess.run(PROGRAM, check=True), id="subprocess"),
        pytest.param(lambda: os.system("true"), id="system"),
        pytest.param(forked, id="fork"),
        pytest.param(lambda: os.posix_spawn(PROGRAM[0], PROGRAM, {}), id="posix_spawn"),
        pytest.param(on(asyncio.new_event_loop, executed), id="asyncio"),
        pytest.param(on(uvloop.new_event_loop, executed), id="uvloop"),
        pytest.param(on(uvloop.new_event_loop, in_a_shell), id="uvloop's shell"),
        pytest.param(on(asyncio.new_event_loop, connected), id="Postgres"),
        pytest.param(connected_over_tcp, id="Postgres over TCP"),
    ],
)
def test_it_is_refused(start: Callable[[], object]) -> None:
    with REFUSED, nothing_is_started():
        start()


def test_what_is_refused_fails_the_test_though_the_code_passes_over_it() -> None:
    with REFUSED, nothing_is_started(), suppress(BaseException):
        subprocess.run(PROGRAM, check=True)


@pytest.fixture
def _refused_in_setup() -> None:
    refused = refused_so_far()
    assert refused == []
    with REFUSED:
        subprocess.run(PROGRAM, check=True)
    refused.clear()


@pytest.mark.usefixtures("_refused_in_setup")
def test_a_test_of_the_first_stage_is_held_to_it_from_its_fixtures_on() -> None:
    refused = refused_so_far()
    assert refused == []
    with REFUSED:
        subprocess.run(PROGRAM, check=True)
    refused.clear()


@pytest.mark.usefixtures("processes")
def test_what_says_that_it_starts_processes_may() -> None:
    assert refused_so_far() is None
    subprocess.run(PROGRAM, check=True)


def test_each_test_is_in_one_stage(request: pytest.FixtureRequest) -> None:
    items = request.session.items
    quick, rest = (select(stage, items) for stage in STAGES)
    assert quick == (rest[1], rest[0])
    assert len(quick[0]) + len(rest[0]) == len(items)
    assert request.node in quick[0]


@pytest.mark.usefixtures("processes")
def test_the_first_stage_needs_no_server() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-q",
            "--stage",
            "quick",
            *SAMPLE.values(),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    quick = {line for line in done.stdout.splitlines() if "::" in line}
    assert {name.partition("::")[0] for name in quick} == {SAMPLE["all"], SAMPLE["some"]}
    assert f"{SAMPLE['some']}::test_each_test_is_in_one_stage" in quick
    assert f"{SAMPLE['some']}::test_the_first_stage_needs_no_server" not in quick

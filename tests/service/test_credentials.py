"""The commands of publisher and subscriber before an aggregator that lets in by a token."""

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web
from support.command import environment
from support.guarded import guarding, refused
from support.processes import Aggregator
from support.proxy import Forward, proxy
from support.tls import Authority

ROOT = Path(__file__).parents[2]
TOKEN = "agg_right-0123456789"
OTHER = "agg_other-9876543210"
LIMIT_S = 60.0

COMMANDS = {
    "ship": ("publisher", "ship", "LOG", "--topic", "orders"),
    "ship --follow": ("publisher", "ship", "LOG", "--topic", "orders", "--follow"),
    "load": ("publisher", "load", "--events", "9", "--batch", "3"),
    "follow": ("subscriber", "follow", "orders", "--until-caught-up"),
    "create": ("subscriber", "create", "billing", "orders"),
    "run": ("subscriber", "run", "billing", "--until-caught-up", "--", "cat"),
}


class Ended(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


class Runs:
    """Runs commands with a log file, and with nothing of this machine's settings."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.log = directory / "one.log"
        self.log.write_text("one\n")

    async def started(
        self, command: str, *options: str | Path, **variables: str
    ) -> asyncio.subprocess.Process:
        """A command, under way."""
        module, name, *rest = COMMANDS[command]
        arguments = [str(self.log) if each == "LOG" else each for each in rest]
        env = environment({"XDG_STATE_HOME": str(self._directory / command), **variables})
        env.pop("SSL_CERT_FILE", None)
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, name, *options, *arguments),
            cwd=ROOT,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def ended(self, command: str, *options: str | Path, **variables: str) -> Ended:
        """Run a command to its end."""
        process = await self.started(command, *options, **variables)
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    return write_token(tmp_path / "token", TOKEN)


def write_token(path: Path, token: str, mode: int = 0o600) -> Path:
    new = path.with_name(f".{path.name}")
    new.write_text(f"{token}\n")
    new.chmod(mode)
    return new.rename(path)


async def test_commands_of_each_kind_work_with_the_token(
    runs: Runs, token_file: Path, run_aggregator: Callable[..., Aggregator]
) -> None:
    aggregator = run_aggregator()
    shown: set[str | None] = set()

    async def guard(request: web.Request, body: bytes, forward: Forward) -> web.Response:
        shown.add(request.headers.get("Authorization"))
        return refused(request, TOKEN) or await forward()

    async with proxy(aggregator.url, guard) as url:
        for command in ("ship", "load", "create"):
            ended = await runs.ended(command, "--token-file", token_file, "--url", url)
            assert ended.status == 0, (command, ended)
            assert TOKEN not in ended.out + ended.err
        ended = await runs.ended("run", AGGREGATOR_URL=url, AGGREGATOR_TOKEN=TOKEN)
        assert ended == Ended(0, "", "")
    assert shown == {f"Bearer {TOKEN}"}


async def test_ship_follow_goes_on_with_a_token_file_that_is_replaced(
    runs: Runs, token_file: Path
) -> None:
    async with guarding(TOKEN) as server:
        process = await runs.started(
            "ship --follow", "--token-file", token_file, "--url", server.url
        )
        try:
            async with asyncio.timeout(LIMIT_S):
                while not server.tokens:  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(0.01)
                # First at the aggregator, then at the client: between the two it is refused.
                server.token = OTHER
                write_token(token_file, OTHER)
                with runs.log.open("a") as log:
                    log.write("two\n")
                while f"Bearer {OTHER}" not in server.tokens:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0, err
    assert b"stored 2" in out
    assert not {TOKEN.encode(), OTHER.encode()} & set((out + err).split())


async def test_certificates_are_given_by_options(runs: Runs, tmp_path: Path) -> None:
    authority = Authority()
    ca_file = authority.write(tmp_path / "ca.pem")
    certificate, key = authority.write_client(tmp_path)
    tls = ("--ca", ca_file, "--client-cert", certificate, "--client-key", key)
    async with guarding(context=authority.asking("127.0.0.1")) as server:
        options = (*tls, "--header", "X-Tenant: north", "--url", server.url)
        for command in ("ship", "follow"):
            ended = await runs.ended(command, *options)
            assert ended.status == 0, (command, ended)
    assert {headers["X-Tenant"] for headers in server.headers} == {"north"}


async def test_what_is_dangerous_is_warned_of_once(runs: Runs, tmp_path: Path) -> None:
    token_file = write_token(tmp_path / "token", TOKEN, 0o644)
    # Nothing listens there, and the name leads nowhere.
    url = "http://aggregator.invalid"
    ended = await runs.ended("ship", "--token-file", token_file, "--url", url, "--deadline", "0.2")
    assert ended.status == 1
    warnings = ended.err.splitlines()[:2]
    program = "python -m publisher ship"
    assert warnings[0].startswith(f"{program}: every user of this machine can read '{token_file}';")
    assert warnings[1].startswith(f"{program}: the token goes to aggregator.invalid unencrypted,")
    assert TOKEN not in ended.out + ended.err

"""Every command of publisher and subscriber: credentials that are refused, and what it shows."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from support.guarded import Guarded, guarding, problem

import publisher.__main__
import subscriber.__main__
from publisher.cli import DONE, FAILED, USAGE

TOKEN = "agg_0123456789"
LIMIT_S = 30.0
PROGRAMS = {"publisher": publisher.__main__.main, "subscriber": subscriber.__main__.main}
COMMANDS = {
    "ship": ("publisher", "ship", "LOG", "--topic", "orders"),
    "ship --follow": ("publisher", "ship", "LOG", "--topic", "orders", "--follow"),
    "ship --resend": ("publisher", "ship", "--topic", "orders", "--resend", "LETTERS"),
    "load": ("publisher", "load", "--events", "9", "--batch", "3"),
    "follow": ("subscriber", "follow", "orders"),
    "create": ("subscriber", "create", "billing", "orders"),
    "run": ("subscriber", "run", "billing", "--", "cat"),
    "lease": ("subscriber", "lease", "billing"),
    "dead": ("subscriber", "dead", "billing"),
    "subscriptions": ("subscriber", "subscriptions"),
    "seek": ("subscriber", "seek", "billing", "--to", "start"),
    "pause": ("subscriber", "pause", "billing"),
    "resume": ("subscriber", "resume", "billing"),
    "delete": ("subscriber", "delete", "billing"),
}

each_command = pytest.mark.parametrize("command", COMMANDS)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AGGREGATOR_TOKEN", "AGGREGATOR_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command with some options; gives its exit status, and what it wrote."""
    log = tmp_path / "one.log"
    log.write_text("one\n")
    letters = tmp_path / "letters"
    letters.write_text(
        '{"event_id":"a-0-0b","source":"s","path":"p","position":0,"reason":"r","text":"one\\n"}\n'
    )

    def run(command: str, *options: str | Path) -> tuple[int, str, str]:
        program, name, *rest = COMMANDS[command]
        files = {"LOG": str(log), "LETTERS": str(letters)}
        arguments = [name, *map(str, options), *(files.get(each, each) for each in rest)]
        try:
            status = PROGRAMS[program](arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
        written = capfd.readouterr()
        return status, written.out, written.err

    return run


@contextmanager
def beside(refuse: Callable[[web.Request], web.Response]) -> Iterator[Guarded]:
    """A server in a thread of its own, since the commands have the event loop of this one."""
    started = threading.Event()
    servers: list[tuple[Guarded, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with guarding(refuse=refuse) as server:
            end = asyncio.Event()
            servers.append((server, asyncio.get_running_loop(), end))
            started.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(LIMIT_S)
    ((server, loop, end),) = servers
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


def write_token(path: Path, content: str) -> Path:
    path.write_text(content)
    path.chmod(0o600)
    return path


@each_command
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_ends_it_at_once_and_is_not_shown(
    command: str, status: int, run: Run, tmp_path: Path
) -> None:
    def refuse(request: web.Request) -> web.Response:
        # What no server should do, some do.
        return problem(status, f"nothing for {request.headers['Authorization']}")

    token_file = write_token(tmp_path / "token", TOKEN)
    with beside(refuse) as server:
        ended, out, err = run(command, "--token-file", token_file, "--url", server.url)
    assert server.tokens == [f"Bearer {TOKEN}"]
    # `load` has not begun.
    assert ended == (USAGE if command == "load" else FAILED)
    (sentence,) = [line for line in err.splitlines() if "the checkpoint is" not in line]
    assert f"{status}: nothing for Bearer (token)" in sentence
    assert TOKEN not in out + err


@each_command
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("\n", "is empty, where a token is to be"),
        (f"{TOKEN}\n{TOKEN}\n", "has 2 lines, where the token alone is to be, on one line"),
        (f"{TOKEN}\x07", "has a character that a header cannot carry: a token is printable ASCII"),
    ],
)
def test_a_token_file_that_holds_none_is_a_sentence_and_status_2(
    command: str, content: str, sentence: str, run: Run, tmp_path: Path
) -> None:
    file = write_token(tmp_path / "token", content)
    ended, out, err = run(command, "--token-file", file)
    program = " ".join(COMMANDS[command][:2])
    assert (ended, out, err.count("\n")) == (USAGE, "", 1)
    assert err.startswith(f"python -m {program}: the token file '{file}' {sentence}")
    assert TOKEN not in err


@each_command
def test_the_help_has_the_options_and_nothing_of_the_environment(
    command: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGGREGATOR_TOKEN", TOKEN)
    monkeypatch.setenv("AGGREGATOR_URL", f"https://user:{TOKEN}@events.example.org")
    ended, out, err = run(command, "--help")
    assert (ended, err) == (DONE, "")
    for option in ("--url", "--token-file", "--ca", "--client-cert", "--client-key", "--header"):
        assert f"{option} " in out
    assert TOKEN not in out

"""What docs/use/ship.md shows is what is sent, and restores what was shipped."""

import asyncio
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from support.http import Client
from support.scripted import Scripted
from unit.publisher.ship.shipping import Shipping

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "use" / "ship.md").read_text(encoding="utf-8")
DAY_ONE = b"".join(b"%d caf\xc3\xa9\r\n\xff\n" % number for number in range(50)) + b"end"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


async def ship(client: Client, cwd: Path, *arguments: str) -> tuple[int | None, str, str]:
    """Run the command there; gives its status and what it wrote."""
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "publisher", "ship", *arguments),
        *("--url", str(client.make_url("")).rstrip("/")),
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDEVMODE": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await command.communicate()
    # The page has its files there.
    return command.returncode, out.decode(), err.decode().replace(os.fspath(cwd), "/srv")


async def test_the_event_on_the_page_is_what_is_sent(
    server: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = json.loads(blocks("json")[0])
    log = tmp_path / "app.log"
    log.write_bytes("2026-03-01 start\nGET /café 200\n".encode())
    # As if it was there.
    monkeypatch.setattr("publisher.ship.reading.named_path", lambda _: Path("/srv/app.log"))
    await Shipping(server.url).once(log)
    event = json.loads(server.bodies[0].split(b"\n")[1])
    assert event | {"timestamp": shown["timestamp"]} == shown


async def test_the_page_restores_what_grew_and_was_rotated(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    for content in (DAY_ONE, DAY_ONE + b" of day one\n", b"day two\n"):
        log.write_bytes(content)
        arguments = ("app.log", "--topic", "logs", "--host", "web1")
        status, _, err = await ship(client, tmp_path, *arguments)
        assert (status, err) == (0, "")
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[0], "ship.md", "exec"), names)
    restored = tmp_path / "restored"
    restored.mkdir()
    url = str(client.make_url("")).rstrip("/")
    await asyncio.to_thread(names["restore"], url, "logs", f"web1:{log}", restored)
    contents = {path.read_bytes() for path in restored.iterdir()}
    assert contents == {DAY_ONE + b" of day one\n", b"day two\n"}


async def test_the_records_on_the_page_go_where_it_says(client: Client, tmp_path: Path) -> None:
    (shown,) = [block for block in blocks("console") if "requests.ndjson" in block]
    _, records, command, *told = re.split(r"^\$ (?:cat .*|(.*))\n", shown, flags=re.MULTILINE)[1:]
    (tmp_path / "requests.ndjson").write_text(records)
    arguments = shlex.split(command.removeprefix("python -m publisher ship"))
    status, out, err = await ship(client, tmp_path, *arguments)
    assert status == 1
    assert sorted((out + err).splitlines()) == sorted("".join(told).splitlines())


async def test_the_dead_letters_on_the_page_are_sent_again_as_it_says(
    client: Client, tmp_path: Path
) -> None:
    (shown,) = [block for block in blocks("console") if "app.dead" in block]
    (tmp_path / "app.ndjson").write_text('{"key": "a"}\n')
    commands = re.split(r"^\$ (.*)\n", shown, flags=re.MULTILINE)[1:]
    statuses = []
    for command, told in zip(commands[::2], commands[1::2], strict=True):
        arguments = shlex.split(command.removeprefix("python -m publisher ship"))
        status, out, err = await ship(client, tmp_path, *arguments)
        statuses.append(status)
        assert sorted((out + err).splitlines()) == sorted(told.splitlines())
    assert statuses == [1, 0]

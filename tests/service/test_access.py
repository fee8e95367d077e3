"""Access control of the real process: its start, its reloads, its log, requests by their head."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.access import TokensFile
from support.processes import Aggregator, wait_for

Run = Callable[..., Aggregator]


@pytest.fixture
def tokens(tmp_path: Path) -> TokensFile:
    return TokensFile(tmp_path / "tokens.toml")


def said_to(aggregator: Aggregator, head: str, *headers: str) -> str:
    """Send the head of a request and nothing else; return the answer's head and body."""
    parts = urlsplit(aggregator.url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as talk:
        lines = [head, "Host: x", "Connection: close", *headers, "", ""]
        talk.sendall("\r\n".join(lines).encode())
        answer = b""
        while b"\r\n\r\n" not in answer or answer.startswith(b"HTTP/1.1 100"):
            received = talk.recv(65_536)
            if not received:
                break
            answer += received
            if answer.startswith(b"HTTP/1.1 100"):
                break
    return answer.decode()


def status_of(aggregator: Aggregator, head: str, token: str) -> int:
    answer = said_to(aggregator, head, f"Authorization: Bearer {token}")
    return int(answer.split()[1])


@pytest.mark.parametrize("way", ["auto", "off"])
def test_who_may_not_publish_is_told_before_the_body(
    run_aggregator: Run, tokens: TokensFile, tmp_path: Path, way: str
) -> None:
    reader = tokens.give("reader", read=["**"])
    writer = tokens.give("writer", publish=["orders"])
    aggregator = run_aggregator(
        "--database", str(tmp_path / "e.db"), "--tokens", str(tokens.path), "--fast-path", way
    )
    head = "POST /publish HTTP/1.1"
    body = ("Content-Type: application/json", "Content-Length: 1000000")
    for expects in ((), ("Expect: 100-continue",)):
        assert said_to(aggregator, head, *body, *expects).startswith("HTTP/1.1 401 ")
        shown = f"Authorization: Bearer {reader}"
        assert said_to(aggregator, head, *body, *expects, shown).startswith("HTTP/1.1 403 ")
    answer = said_to(
        aggregator, head, *body, "Expect: 100-continue", f"Authorization: Bearer {writer}"
    )
    assert answer.startswith("HTTP/1.1 100 ")


def test_a_change_of_the_file_is_in_force_and_a_broken_one_is_not(
    run_aggregator: Run, tokens: TokensFile, tmp_path: Path
) -> None:
    first = tokens.give("first", metrics=True)
    aggregator = run_aggregator(
        "--database", str(tmp_path / "e.db"), "--tokens", str(tokens.path), "--log-format", "json"
    )
    ask = "GET /metrics HTTP/1.1"
    assert status_of(aggregator, ask, first) == 200
    second = tokens.give("second", metrics=True)
    wait_for(lambda: status_of(aggregator, ask, second) == 200, "the second token is in force")
    whole = tokens.path.read_text()
    tokens.path.write_text("[[entry]]\nname = 7\n")
    aggregator.process.send_signal(signal.SIGHUP)
    wait_for(lambda: bool(aggregator.log_lines("tokens_refused")), "it is told")
    assert status_of(aggregator, ask, first) == status_of(aggregator, ask, second) == 200
    tokens.path.write_text(whole)
    tokens.take_away("first")
    aggregator.process.send_signal(signal.SIGHUP)
    wait_for(lambda: status_of(aggregator, ask, first) == 401, "the first token is revoked")
    assert status_of(aggregator, ask, second) == 200
    log = json.dumps(aggregator.log_lines())
    assert first not in log
    assert second not in log
    lines = aggregator.log_lines("request")
    assert {line.get("entry") for line in lines} == {"first", "second", None}


def test_sighup_without_anything_to_read_again_does_nothing(
    run_aggregator: Run, tmp_path: Path
) -> None:
    aggregator = run_aggregator("--database", str(tmp_path / "e.db"))
    aggregator.process.send_signal(signal.SIGHUP)
    assert said_to(aggregator, "GET /health HTTP/1.1").startswith("HTTP/1.1 200 ")
    assert aggregator.process.poll() is None


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        (None, [], r"can't read the tokens file '.*': No such file or directory"),
        ("[[entry]]\n", [], r"the tokens file '.*' is broken: entry 1 has no name"),
    ],
)
def test_a_file_that_can_not_be_used_ends_the_start(
    tmp_path: Path, content: str | None, options: list[str], sentence: str
) -> None:
    path = tmp_path / "tokens.toml"
    if content is not None:
        path.write_text(content)
    command = [sys.executable, "-m", "aggregator", "--port", "0", "--tokens", str(path), *options]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert re.search(sentence, ended.stderr), ended.stderr


def test_beyond_this_machine_tokens_may_be_demanded(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aggregator", "--host", "0.0.0.0", "--require-auth", "on"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "there is no tokens file" in ended.stderr

"""Starting the real process: from nothing, from the environment, on a console."""

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.backends import PostgresServer, new_database
from support.command import on_terminal
from support.load import batch_of, get_json, session
from support.processes import Aggregator

Run = Callable[..., Aggregator]


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def test_without_settings_it_stores_in_a_file_in_the_working_directory(
    run_aggregator: Run, tmp_path: Path
) -> None:
    aggregator = run_aggregator()
    assert aggregator.url.startswith("http://127.0.0.1:")
    async with session() as client:
        answer = await client.post(f"{aggregator.url}/publish", json=batch_of("orders", ["e-1"]))
        assert answer.status == 200
        assert (await get_json(client, f"{aggregator.url}/stats"))["backend"] == "sqlite"
    assert aggregator.stop() == 0
    assert (tmp_path / "aggregator.db").stat().st_size > 0


def test_the_address_of_a_service_in_place_of_a_port_is_told(run_aggregator: Run) -> None:
    service = {"AGGREGATOR_PORT": "tcp://10.96.0.12:8080", "AGGREGATOR_SERVICE_HOST": "10.96.0.12"}
    (line,) = run_aggregator(env=service).log_lines("variable_ignored")
    assert (line["name"], line["value"]) == ("AGGREGATOR_PORT", "tcp://10.96.0.12:8080")
    assert line["level"] == "warning"
    assert "choose the port with --port, or rename the service" in line["reason"]


def test_a_variable_that_is_no_setting_is_told_without_its_value(run_aggregator: Run) -> None:
    (line,) = run_aggregator(env={"AGGREGATOR_DATABSE": "hush4711"}).log_lines("variable_unknown")
    assert line["name"] == "AGGREGATOR_DATABSE"
    assert line["level"] == "warning"
    assert line["reason"] == "no setting is called so; did you mean AGGREGATOR_DATABASE?"
    assert "hush4711" not in json.dumps(line)


async def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    port = free_port()
    env = {
        "AGGREGATOR_PORT": str(port),
        "AGGREGATOR_DATABASE": "elsewhere.db",
        "AGGREGATOR_MAX_BATCH_EVENTS": "1",
        "AGGREGATOR_LOG_FORMAT": "",
    }
    with on_terminal(cwd=tmp_path, env=env) as running:
        running.wait_for_text(f"http://127.0.0.1:{port}")
        async with session() as client:
            answer = await client.post(
                f"http://127.0.0.1:{port}/publish", json=batch_of("orders", ["e-1", "e-2"])
            )
            assert answer.status == 413
    assert (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "aggregator.db").exists()


def test_the_command_line_wins_over_the_environment(run_aggregator: Run, tmp_path: Path) -> None:
    run_aggregator("--database", "told.db", env={"AGGREGATOR_DATABASE": "environment.db"})
    assert (tmp_path / "told.db").exists()
    assert not (tmp_path / "environment.db").exists()


async def test_database_url_names_a_postgres_database(
    run_aggregator: Run, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    with new_database("postgres", tmp_path, postgres_server) as database:
        aggregator = run_aggregator(env={"DATABASE_URL": database.dsn})
        async with session() as client:
            assert (await get_json(client, f"{aggregator.url}/stats"))["backend"] == "postgres"
        assert aggregator.stop() == 0
    assert not (tmp_path / "aggregator.db").exists()


@pytest.mark.parametrize("slash", ["", "/"], ids=["relative", "absolute"])
def test_database_url_names_a_sqlite_file(run_aggregator: Run, tmp_path: Path, slash: str) -> None:
    path = str(tmp_path / "named.db") if slash else "named.db"
    run_aggregator(env={"DATABASE_URL": f"sqlite:///{path}"})
    assert (tmp_path / "named.db").exists()


def test_a_console_shows_readable_logs_and_where_it_listens(tmp_path: Path) -> None:
    port = free_port()
    with on_terminal("--port", str(port), cwd=tmp_path) as running:
        running.wait_for_text("Ctrl-C")
        assert f"listening on http://127.0.0.1:{port}, storing in aggregator.db" in running.text
        assert running.stop(signal.SIGINT) == 0
        assert "stopped" in running.text
        assert "Traceback" not in running.text
        for line in running.text.splitlines():
            assert not line.startswith("{"), line


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_example_on_a_console_works_as_printed(tmp_path: Path) -> None:
    with on_terminal("--port", str(free_port()), "--log-format", "json", cwd=tmp_path) as running:
        running.wait_for_text("Ctrl-C")
        example = re.search(r"\n\n(  curl .*?)\n\nCtrl-C", running.text, re.DOTALL)
        assert example is not None, running.text
        lines = re.split(r"\n(?=  curl )", example[1])
        answers = [
            json.loads(subprocess.check_output([*shlex.split(line), "--silent", "--fail"]))
            for line in lines
        ]
    published, stats, events = answers
    assert published["unique_processed"] == 1
    assert stats["topics"]["orders"]["received"] == 1
    assert [event["event_id"] for event in events] == ["e-1"]

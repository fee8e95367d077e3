"""Logs: JSON lines that never hold up the work, never show a payload, and count what they lose."""

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pytest
import structlog
from aiohttp.test_utils import TestClient, TestServer
from support.backends import Database
from support.events import published

from aggregator import app
from aggregator.http import problem_details
from aggregator.logging import setup
from aggregator.observability import access_log, conflict_log, flush_log
from aggregator.settings.model import Settings

Configure = Callable[..., setup.LineWriter]
SECRET = "hush-4711"


class StuckStream(io.BytesIO):
    """A stream whose reader reads nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def write(self, data: Any) -> int:
        self.entered.set()
        assert self.go_on.wait(30)
        return super().write(data)


class BrokenStream(io.BytesIO):
    """A stream that nobody reads any more."""

    def write(self, _data: Any) -> int:
        raise BrokenPipeError("the reader went away")


@pytest.fixture
def configure() -> Iterator[Configure]:
    """`setup.configure`; what it changed of the process is put back at the end."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    config = structlog.get_config()
    writers: list[setup.LineWriter] = []

    def run(stream: BinaryIO, *, as_json: bool = True, level: str = "info") -> setup.LineWriter:
        writers.append(setup.configure(stream, as_json=as_json, level=level))
        return writers[-1]

    yield run
    for writer in writers:
        writer.close()
    structlog.configure(**config)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines_of(stream: io.BytesIO) -> list[dict[str, Any]]:
    text = stream.getvalue()
    assert not text or text.endswith(b"\n")
    return [json.loads(line) for line in text.splitlines()]


class Terminal(io.BytesIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "no_color", "coloured"),
    [
        (Terminal(), None, True),
        (Terminal(), "", True),
        (Terminal(), "1", False),
        (io.BytesIO(), None, False),
    ],
)
def test_text_has_colours_on_a_terminal_unless_no_color_is_set(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    stream: io.BytesIO,
    no_color: str | None,
    *,
    coloured: bool,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    writer = configure(stream, as_json=False)
    structlog.get_logger().warning("hello", number=1)
    writer.close()
    text = stream.getvalue()
    assert b"hello" in text
    assert (b"\x1b[" in text) is coloured


def test_every_line_is_a_json_object_with_its_level_and_time(configure: Configure) -> None:
    stream = io.BytesIO()
    writer = configure(stream)
    log = structlog.get_logger()
    log.info("hello", number=1, text="a\nb\u2028é", anything=object)
    log.warning("other")
    log.debug("below the level")
    writer.close()
    first, second = lines_of(stream)
    assert first.items() >= {"event": "hello", "level": "info", "number": 1}.items()
    assert first["text"] == "a\nb\u2028é"
    assert first["anything"] == "<class 'object'>"
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["level"]) == ("other", "warning")


def test_readable_text_has_a_line_an_event_too(configure: Configure) -> None:
    stream = io.BytesIO()
    writer = configure(stream, as_json=False)
    structlog.get_logger().info("hello", number=1)
    writer.close()
    assert stream.getvalue().count(b"\n") == 1
    assert b"hello" in stream.getvalue()
    assert b"number=1" in stream.getvalue()


def test_the_level_is_the_least_that_is_logged(configure: Configure) -> None:
    stream = io.BytesIO()
    writer = configure(stream, level="error")
    log = structlog.get_logger()
    for level in ("debug", "info", "warning", "error"):
        log.log(logging.getLevelNamesMapping()[level.upper()], level)
    logging.getLogger("library").warning("warning")
    logging.getLogger("library").error("error")
    writer.close()
    assert [line["event"] for line in lines_of(stream)] == ["error", "error"]


def test_the_standard_library_s_logs_come_as_lines_too(configure: Configure) -> None:
    stream = io.BytesIO()
    writer = configure(stream)
    library = logging.getLogger("aiohttp.server")
    library.info("chatter")
    library.warning("%d of %s", 3, "four")
    try:
        int("why")
    except ValueError:
        library.exception("failed")
    writer.close()
    warning, failed = lines_of(stream)
    assert (warning["event"], warning["logger"], warning["level"]) == (
        "3 of four",
        "aiohttp.server",
        "warning",
    )
    assert (failed["event"], failed["level"]) == ("failed", "error")
    assert failed["exception"][0]["exc_type"] == "ValueError"


@pytest.mark.parametrize("as_json", [True, False])
def test_text_that_is_no_utf_8_is_logged_and_raises_nothing(
    configure: Configure, as_json: bool
) -> None:
    stream = io.BytesIO()
    writer = configure(stream, as_json=as_json)
    structlog.get_logger().info("hello", path="a\udcffb")
    logging.getLogger("library").warning("bad \udcff")
    writer.close()
    assert stream.getvalue().count(b"\n") == 2
    assert b"hello" in stream.getvalue()


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_no_local_variable(configure: Configure, as_json: bool) -> None:
    stream = io.BytesIO()
    writer = configure(stream, as_json=as_json)

    def fail(payload: str) -> None:
        raise ValueError("why" if payload else "")

    try:
        fail("-".join(["hush", "4711"]))
    except ValueError:
        structlog.get_logger().exception("failed")
    writer.close()
    assert b"why" in stream.getvalue()
    assert SECRET.encode() not in stream.getvalue()


@pytest.mark.usefixtures("processes")
async def test_no_payload_is_ever_logged(
    configure: Configure, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.BytesIO()
    writer = configure(stream, level="debug")
    for module in (app, conflict_log, flush_log, access_log, problem_details):
        monkeypatch.setattr(module, "_log", structlog.get_logger())
    server = TestServer(app.create_app(Settings.from_values(database.settings())))
    await server.start_server(auto_decompress=False)
    async with TestClient(server) as client:
        event = published(payload={SECRET: SECRET})
        for body in (event, event | {"payload": {SECRET: 2}}, event | {"payload": [SECRET]}):
            response = await client.post("/publish", json=body, headers={"X-Request-ID": "r-1"})
            assert response.status in {200, 422}
        await client.post("/publish", data=b'{"payload": {"%s": ' % SECRET.encode())
    writer.close()
    lines = lines_of(stream)
    assert SECRET.encode() not in stream.getvalue()
    answered = [line for line in lines if line["event"] == "request"]
    assert [(line["status"], line["method"], line["path"]) for line in answered] == [
        (200, "POST", "/publish"),
        (200, "POST", "/publish"),
        (422, "POST", "/publish"),
        (415, "POST", "/publish"),
    ]
    assert [line["request_id"] for line in answered[:3]] == ["r-1"] * 3
    assert [line.get("conflicts") for line in answered] == [0, 1, None, None]
    assert [line["event_id"] for line in lines if line["event"] == "conflict"] == [
        event["event_id"]
    ]
    assert {"storage_available", "flush"} <= {line["event"] for line in lines}


def test_lines_that_a_stuck_stream_costs_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "MAX_WAITING_LINES", 10)
    stream = StuckStream()
    writer = setup.LineWriter(stream)
    writer.write('"first"')
    assert stream.entered.wait(30)
    for number in range(17):
        writer.write(str(number))
    stream.go_on.set()
    writer.close()
    *kept, loss = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert kept == ["first", *range(10)]
    assert loss == {"event": "log_lines_dropped", "level": "warning", "count": 7}


def test_closing_writes_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = StuckStream()
    writer = setup.LineWriter(stream)
    for number in range(2_000):
        writer.write(b"%d" % number)
    stream.go_on.set()
    writer.close()
    assert stream.getvalue().splitlines() == [b"%d" % number for number in range(2_000)]


def test_closing_gives_up_on_a_stuck_stream() -> None:
    stream = StuckStream()
    writer = setup.LineWriter(stream)
    writer.write("first")
    assert stream.entered.wait(30)
    writer.close(timeout_s=0.01)
    assert stream.getvalue() == b""
    stream.go_on.set()
    writer.close()
    assert stream.getvalue() == b"first\n"


def test_a_log_that_nobody_reads_any_more_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    writer = setup.LineWriter(BrokenStream())
    writer.write("first")
    writer.close()
    writer.write("second")
    assert "the reader went away" in capsys.readouterr().err

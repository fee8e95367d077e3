"""What the short way rests on is looked at when the server starts; another aiohttp turns it off."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from aiohttp import web
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE

from aggregator.app import create_app
from aggregator.http import fast_connection
from aggregator.http.fast_connection import obstacle
from aggregator.server import run
from aggregator.settings.model import Settings


@pytest.fixture
async def server() -> web.Server:
    async def handler(_request: web.BaseRequest) -> web.StreamResponse:
        raise NotImplementedError

    return web.Server(handler)


async def test_there_is_none_with_the_aiohttp_that_is_installed(server: web.Server) -> None:
    assert obstacle(server) is None
    assert MAX_MSG_QUEUE_SIZE < fast_connection._SAMPLES, "it would notice one that is not consumed"


class _Parser:
    """A parser of another aiohttp, made from the one of this."""

    def __init__(self, inner: Any, **changes: Any) -> None:
        self._inner = inner
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        changed = self._changes.get(name, getattr(self._inner, name))
        if changed is None:
            raise AttributeError(name)
        return changed


def without(name: str) -> Callable[[web.RequestHandler], None]:
    """Another `RequestHandler` than was built upon: it lacks a name."""
    return lambda handler: delattr(handler, name)


def with_parser(**changes: Any) -> Callable[[web.RequestHandler], None]:
    def change(handler: web.RequestHandler) -> None:
        handler._parser = _Parser(handler._parser, **changes)  # type: ignore[assignment]

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(without("_parser"), id="no parser"),
        pytest.param(without("_next_keepalive_close_time"), id="no time to close at"),
        pytest.param(with_parser(message_consumed=None), id="no message_consumed"),
        pytest.param(with_parser(message_consumed=lambda: None), id="another message_consumed"),
        pytest.param(with_parser(feed_data=lambda _data: ([], None)), id="another feed_data"),
        pytest.param(with_parser(feed_data=lambda _data: ([], False, b"")), id="no messages"),
        pytest.param(
            with_parser(feed_data=lambda _data: ([(object(), object())], False, b"")),
            id="other messages",
        ),
    ],
)
async def test_another_aiohttp_is_an_obstacle(
    server: web.Server,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[web.RequestHandler], None],
) -> None:
    class Other(web.RequestHandler):
        __slots__ = ()

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            change(self)

    monkeypatch.setattr("aggregator.http.fast_connection.web.RequestHandler", Other)
    assert obstacle(server)


async def test_a_handler_that_never_asks_its_parser_is_an_obstacle(
    server: web.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web.RequestHandler, "data_received", lambda *_: None)
    assert obstacle(server)


@pytest.mark.parametrize(
    ("setting", "obstacles", "taken", "logged_lines"),
    [("auto", None, True, 0), ("auto", "it changed", False, 1), ("off", None, False, 0)],
)
async def test_the_short_way_is_taken_where_it_can_be_and_may_be(
    server: web.Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    setting: str,
    obstacles: str | None,
    taken: bool,
    logged_lines: int,
) -> None:
    monkeypatch.setattr(run, "_log", structlog.get_logger())
    monkeypatch.setattr(run, "obstacle", lambda _server: obstacles)
    settings = Settings.from_values({"database": tmp_path / "log.db", "fast_path": setting})
    with structlog.testing.capture_logs() as logged:
        assert (run._fast_path(settings, server, create_app(settings)) is not None) == taken
    assert len(logged) == logged_lines
    assert all(line["reason"] == "it changed" and line["aiohttp"] for line in logged)

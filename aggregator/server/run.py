"""The server: a socket, signals, and an orderly shutdown."""

import asyncio
import gc
import os
import socket
from collections.abc import Callable
from typing import NamedTuple

import aiohttp
import structlog
from aiohttp import web

from aggregator.access.tokens_file import TokensFileBroken
from aggregator.app import (
    ABANDON,
    DRAIN,
    FAST_PATH,
    FIRST_TRY,
    PENDING_RESPONSES,
    TOKENS,
    create_app,
)
from aggregator.http.connection_limit import LimitedConnections
from aggregator.http.fast_connection import obstacle
from aggregator.http.fast_path import FastPath
from aggregator.http.fd_limit import make_room
from aggregator.http.malformed_requests import log_malformed_requests
from aggregator.ingest.telemetry import CannotTrace
from aggregator.logging.rate_limit import write_counts
from aggregator.server.allocator import give_large_blocks_back
from aggregator.server.reloads import Reloads
from aggregator.server.shutdown import ORDERLY, Shutdown
from aggregator.server.tls.connections import TlsConnections
from aggregator.server.tls.files import TlsFault, tls_files
from aggregator.server.tls.live import LiveContext
from aggregator.settings.loopback import is_loopback
from aggregator.settings.model import Settings
from storage.errors import StorageError

_new_event_loop: Callable[[], asyncio.AbstractEventLoop] | None
try:
    from uvloop import new_event_loop as _new_event_loop
except ImportError:  # not made for this platform
    _new_event_loop = None

_FLUSH_RESPONSES_S = 2.0
"""After draining every verdict is known: time for responses to get through slow connections."""

BEYOND_DRAIN_S = 12.0
"""Time for the shutdown beside draining. Its waits take less: responses `_FLUSH_RESPONSES_S`, a
store seven seconds, spans three."""

UNUSABLE = 2
"""The exit status of a process that can't serve."""

_COLLECT_EVERY = 20_000

_log = structlog.get_logger()


class CannotServe(Exception):
    """The aggregator can't start, or go on; the message is one sentence for its operator."""


async def serve(
    settings: Settings, on_listening: Callable[[str], None], shutdown: Shutdown
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Args:
        settings: checked settings.
        on_listening: called with the URL as soon as the socket accepts connections.
        shutdown: handles the signals, and bounds the time of the shutdown.

    Raises:
        CannotServe: the address is taken or wrong, spans can't be exported, or the store, the
            tokens file or a file of TLS can't be used.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[StorageError | None] = loop.create_future()

    def end(error: StorageError | None = None) -> None:
        if not ended.done():
            ended.set_result(error)
        app[FIRST_TRY].set()

    live = _live_context(settings)
    try:
        app = create_app(settings, on_fatal=end)
    except (CannotTrace, TokensFileBroken) as error:
        raise CannotServe(str(error)) from error
    shutdown.attach(lambda: loop.call_soon_threadsafe(end), app[ABANDON])
    log_malformed_requests()
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=_FLUSH_RESPONSES_S)
    await runner.setup()
    reloads = Reloads()
    if live is not None:
        reloads.add(live.look)
    if (tokens := app[TOKENS]) is not None:
        reloads.add(tokens.look)
    reloads.start()
    listener: _Listener | None = None
    try:
        # Told to end while it waited for the store, it never listens.
        if not ended.done():
            listener = await _listen(settings, runner, live)
            scheme = "http" if live is None else "https"
            url = _url(scheme, listener.server.sockets[0].getsockname())
            _log.info("listening", url=url, backend=settings.backend, pid=os.getpid())
            _warn_of_strangers(settings)
            on_listening(url)
            await ended
            _log.info("draining", timeout_ms=settings.drain_timeout_ms)
            shutdown.begin()
            listener.server.close()
            await runner.app[DRAIN]()
    finally:
        shutdown.begin()
        await reloads.aclose()
        if listener is not None and listener.tls is not None:
            listener.tls.close()
        await runner.cleanup()
        write_counts()
    if (fatal := ended.result()) is not None:
        raise CannotServe(str(fatal))
    _log.info("stopped")


def run(
    settings: Settings,
    on_listening: Callable[[str], None],
    close_log: Callable[[float], object],
) -> None:
    """Serve in an event loop of its own, uvloop's where it is installed, until the shutdown.

    The process ends soon after this returns, if need be in spite of threads that hang.

    Args:
        settings: see `serve`.
        on_listening: see `serve`.
        close_log: writes the log's last lines, in so many seconds at the most.

    Raises:
        CannotServe: see `serve`.
    """
    # The collector looks for cycles each time so many more objects are there than before. With
    # Python's own figure and thousands of requests under way it took a fifth of the time.
    gc.set_threshold(_COLLECT_EVERY, 10, 10)
    give_large_blocks_back()
    shutdown = Shutdown(settings.drain_timeout_ms / 1000 + BEYOND_DRAIN_S, close_log)
    shutdown.watch()
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        try:
            runner.run(serve(settings, on_listening, shutdown))
        except CannotServe:
            shutdown.finish(UNUSABLE)
            raise
        shutdown.finish(ORDERLY)


class _Listener(NamedTuple):
    server: asyncio.Server
    tls: TlsConnections | None


def _warn_of_strangers(settings: Settings) -> None:
    """Log what whoever reaches an aggregator beyond this machine can do or see."""
    if is_loopback(settings.host):
        return
    if settings.tokens is None:
        _log.warning(
            "open_to_everybody",
            reason=f"everybody who reaches {settings.host} may publish and read: name a tokens "
            "file with --tokens",
        )
    elif settings.tls_cert is None:
        _log.warning(
            "tokens_in_the_clear",
            reason="tokens can be read on their way: give --tls-cert, or let a proxy on this "
            "machine speak TLS",
        )


def _live_context(settings: Settings) -> LiveContext | None:
    """Return the context of TLS; None if there is to be none."""
    files = tls_files(settings)
    try:
        return None if files is None else LiveContext(files)
    except TlsFault as error:
        raise CannotServe(str(error)) from error


async def _listen(settings: Settings, runner: web.AppRunner, live: LiveContext | None) -> _Listener:
    if runner.server is None:
        raise RuntimeError("the runner is not set up")
    room = make_room(settings.max_connections)
    if room.connections < settings.max_connections:
        _log.warning(
            "connections_limited",
            connections=room.connections,
            reason="the limit on open files is too low for max_connections; see ulimit -n",
        )
    connections = LimitedConnections(
        runner.server,
        max_open=room.connections,
        pending=runner.app[PENDING_RESPONSES],
        fast_path=_fast_path(settings, runner.server, runner.app),
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=settings.idle_timeout_ms / 1000,
    )
    tls = None
    if live is not None:
        tls = TlsConnections(
            connections,
            connections=connections,
            live=live,
            idle_timeout_s=settings.idle_timeout_ms / 1000,
        )
    try:
        server = await asyncio.get_running_loop().create_server(
            tls or connections, settings.host, settings.port, backlog=room.backlog
        )
        return _Listener(server, tls)
    except (OSError, UnicodeError) as error:
        raise CannotServe(
            f"can't listen on {settings.host}:{settings.port}: {_why(error)}"
        ) from error


def _fast_path(settings: Settings, server: web.Server, app: web.Application) -> FastPath | None:
    """Return the fast path; None if all publishes go the normal way."""
    if settings.fast_path == "off":
        return None
    reason = obstacle(server)
    if reason is None:
        return app[FAST_PATH]
    _log.warning("fast_path_off", aiohttp=aiohttp.__version__, reason=reason)
    return None


def _why(error: OSError | UnicodeError) -> str:
    # A resolver numbers its errors its own way, and a name that can't be one has no number.
    if isinstance(error, socket.gaierror) or not isinstance(error, OSError) or not error.errno:
        return getattr(error, "strerror", None) or str(error)
    return os.strerror(error.errno)


def _url(scheme: str, address: tuple[str, int]) -> str:
    host, port = address[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

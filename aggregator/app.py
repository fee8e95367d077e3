"""The composition root: builds an aiohttp application, with its whole life cycle, from settings."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import structlog
from aiohttp import web

from aggregator.access.authority import Access
from aggregator.access.gate import Gate
from aggregator.access.limits import Usage
from aggregator.access.reload import TokensWatch
from aggregator.http.browser_guard import BrowserGuard
from aggregator.http.compression import Compression
from aggregator.http.event_routes import EventRoutes
from aggregator.http.fast_path import FastPath
from aggregator.http.held_pages import HeldPages
from aggregator.http.live_streams import LiveStreams
from aggregator.http.middleware import around_requests
from aggregator.http.pending_responses import PendingResponses
from aggregator.http.response_sender import ResponseSender
from aggregator.http.revocation import Revocation
from aggregator.http.rights import BROWSER_GUARD, GATE, check_needs
from aggregator.http.routes import Routes
from aggregator.http.subscription_routes import SubscriptionRoutes
from aggregator.ingest.admission import Admission
from aggregator.ingest.group_commit import GroupCommit
from aggregator.ingest.known_topics import KnownTopics
from aggregator.ingest.publish_service import PublishService
from aggregator.ingest.store_monitor import StoreMonitor
from aggregator.ingest.telemetry import CannotTrace, Tracing
from aggregator.live.followers import Followers
from aggregator.live.head_poller import HeadPoller
from aggregator.live.heads import HeadWatch
from aggregator.live.log_chunks import LogChunks
from aggregator.live.shared_reads import SharedReads
from aggregator.live.tails import Tails
from aggregator.live.topic_poller import TopicPoller
from aggregator.live.topic_watch import TopicWatch
from aggregator.live.waits import Waits
from aggregator.logging.observer_guard import notify
from aggregator.logging.rate_limit import LogRateLimit
from aggregator.observability.access_log import AccessLog
from aggregator.observability.conflict_log import ConflictLog
from aggregator.observability.flush_observer import FlushObserver
from aggregator.observability.metrics.exposition import MetricsExposition
from aggregator.observability.metrics.gauges import (
    disk_families,
    live_families,
    queue_families,
    store_families,
)
from aggregator.observability.metrics.subscriptions import consumer_families
from aggregator.reading.bounded_read import read_array
from aggregator.reading.read_limit import ReadLimit
from aggregator.reading.read_memory import ReadMemory
from aggregator.reading.stream_limit import StreamLimit
from aggregator.request_context import sent_trace
from aggregator.settings.model import Settings
from aggregator.subscriptions.assembly import assemble
from aggregator.wire.event_rules import Limits
from storage.errors import StorageError
from storage.protocols import EventStore

DRAIN: web.AppKey[Callable[[], Awaitable[None]]] = web.AppKey("drain")
"""Stops accepting events and stores what waits. Cleaning up does it too; done before, with the
socket closed and connections still served, clients meanwhile get a 503."""

ABANDON: web.AppKey[Callable[[], None]] = web.AppKey("abandon")
"""Called in place of cleaning up, when the process is to end at once; see `EventStore.abandon`."""

FIRST_TRY: web.AppKey[asyncio.Event] = web.AppKey("first_try", asyncio.Event)
"""Set once the store was tried for the first time, which starting up waits for; set it before to
end that wait."""

FAST_PATH: web.AppKey[FastPath] = web.AppKey("fast_path")
PENDING_RESPONSES: web.AppKey[PendingResponses] = web.AppKey("pending_responses")
"""The parts that a server needs for the fast path; see `LimitedConnections`."""

TOKENS: web.AppKey[TokensWatch | None] = web.AppKey("tokens")
"""The watch on the tokens file, which looks at once when it is told to."""

_STREAMS_END_S = 2.0
"""After draining, streams go on for so long. The server ends other requests later than that."""

_MAX_TEXTS_PER_SECOND = 10
"""Log lines about what the SQLite writer process says; a failure may come with every batch."""

_log = structlog.get_logger()


def configured_store(settings: Settings) -> EventStore:
    """Return the store that the settings name, not opened yet."""
    return settings.chosen_backend.store(settings, _log_text())


def configured_access(settings: Settings) -> tuple[Access | None, TokensWatch | None]:
    """Return the entries in force and the watch on their file; None if there is no access control.

    Raises:
        TokensFileBroken: the file can't be used.
    """
    if settings.tokens is None:
        return None, None
    access = Access()
    watch = TokensWatch(
        settings.tokens,
        access,
        lambda sentence: _log.info("tokens_in_force", reason=sentence),
        lambda sentence: _log.error("tokens_refused", reason=sentence),
    )
    watch.load()
    return access, watch


def configured_tracing(settings: Settings) -> Tracing | None:
    """Return the maker of spans, if tracing is turned on.

    Raises:
        CannotTrace: it is, and can't be done.
    """
    if settings.tracing == "off":
        return None
    try:
        # Only who turns it on has what it needs, and pays for importing it.
        from aggregator.observability.tracing.otlp_exporter import ExportedSpans  # noqa: PLC0415
    except ImportError as error:
        raise CannotTrace(
            "--tracing otlp needs OpenTelemetry, the extra `tracing`: pip install "
            f"opentelemetry-sdk opentelemetry-exporter-otlp-proto-http ({error})"
        ) from error
    return ExportedSpans(settings.chosen_backend.otel_name)


def create_app(
    settings: Settings,
    store: EventStore | None = None,
    on_fatal: Callable[[StorageError], None] | None = None,
) -> web.Application:
    """Return the aggregator as an aiohttp application.

    It serves from the start: while the store can't be reached, publishes are answered 503.
    Run it with `auto_decompress=False` (see `aggregator.server.run`): aiohttp's own decompression
    takes a gzip body that was cut short for complete.

    Args:
        settings: checked settings.
        store: in place of the one the settings name.
        on_fatal: called with the error when the store can't be opened and waiting will not help.

    Raises:
        CannotTrace: tracing is turned on and can't be done.
        TokensFileBroken: the tokens file can't be used.
    """
    tracing = configured_tracing(settings)
    access, tokens = configured_access(settings)
    gate = Gate(access)
    revocation = Revocation(gate)
    usage = Usage()
    store = store or configured_store(settings)
    store.on_warning = lambda sentence: _log.warning("storage_warning", reason=sentence)
    monitor = StoreMonitor(store, partial(notify, _log_availability))

    admission = Admission(
        max_events=settings.queue_max_events,
        max_bytes=settings.queue_max_bytes,
        max_batch_events=settings.max_batch_events,
    )
    reads = ReadLimit(settings.max_reads)
    read_memory = ReadMemory(settings.reads_max_bytes)
    compression = Compression()
    streams = StreamLimit(settings.max_streams, settings.answers_max_bytes // 2)
    heads = HeadWatch()
    poller = HeadPoller(store, heads)
    shared_reads = SharedReads(heads, partial(read_array, store, read_memory))
    waits = Waits(heads, shared_reads, max_waits=settings.max_waits)
    topics = TopicWatch()
    topic_poller = TopicPoller(store, topics)
    # An eighth of what may be on its way to clients, and as much again for events by source.
    chunks = LogChunks(store, read_memory, settings.answers_max_bytes // 8)
    followers = Followers(
        store=store,
        topics=topics,
        tails=Tails(heads, chunks),
        chunks=chunks,
        limit=streams,
        heartbeat_s=settings.stream_heartbeat_ms / 1000,
        lifetime_s=settings.stream_lifetime_ms / 1000,
    )
    subscriptions = assemble(
        store=store, chunks=chunks, waits=waits, memory=read_memory, suspect=monitor.suspect,
        max_lease_bytes=settings.answers_max_bytes // 2,
    )  # fmt: skip
    metrics = MetricsExposition(
        store,
        max_topics=settings.metrics_max_topics,
        gauges=[
            lambda: queue_families(admission, reads, read_memory, streams, waits),
            lambda: live_families(streams, followers, chunks, poller, topic_poller),
            lambda: store_families(monitor),
            lambda: consumer_families(subscriptions.counters),
            lambda: disk_families(settings.database if settings.chosen_backend.is_file else None),
        ],
        in_reach=lambda: monitor.reason is None,
    )
    group_commit = GroupCommit(
        store,
        max_flush_events=settings.flush_max_events,
        max_flush_bytes=settings.flush_max_bytes,
        on_flush=FlushObserver(
            metrics.flushes, monitor.suspect, heads, topics, subscriptions.notices
        ),
        start_span=tracing.flush if tracing is not None else None,
    )
    publish_service = PublishService(
        monitor=monitor,
        admission=admission,
        group_commit=group_commit,
        limits=Limits(
            settings.max_body_bytes, settings.max_batch_events, settings.max_payload_bytes
        ),
        usage=usage,
        known_topics=KnownTopics(store),
        on_conflicts=ConflictLog().log,
    )
    routes = Routes(
        store=store,
        monitor=monitor,
        publish_service=publish_service,
        event_routes=EventRoutes(
            store=store,
            reads=reads,
            streams=streams,
            read_memory=read_memory,
            held_pages=HeldPages(waits),
            live_streams=LiveStreams(followers, revocation, usage),
            compression=compression,
        ),
        reads=reads,
        metrics=metrics,
        body_timeout_s=settings.body_timeout_ms / 1000,
    )

    async def life(_app: web.Application) -> AsyncIterator[None]:
        watching = asyncio.create_task(_watch_store(monitor, on_fatal), name="store-watch")
        group_commit.start()
        # What can't work is said before the socket is there; what may still come is waited for
        # with the socket open.
        await monitor.tried.wait()
        yield
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await revocation.aclose()
        await poller.aclose()
        await topic_poller.aclose()
        await subscriptions.aclose()
        await shared_reads.aclose()
        await chunks.aclose()
        await metrics.aclose()
        await store.aclose()
        publish_service.close()
        compression.close()
        if tracing is not None:
            await tracing.aclose()

    async def end_streams_soon(_app: web.Application) -> None:
        asyncio.get_running_loop().call_later(_STREAMS_END_S, pending.end_streams)

    async def drain() -> None:
        waits.drain()
        followers.drain()
        publish_service.stop_accepting()
        drain_s = settings.drain_timeout_ms / 1000
        await asyncio.gather(group_commit.drain(drain_s), subscriptions.queue.drain(drain_s))

    pending = PendingResponses(
        max_bytes=settings.answers_max_bytes, timeout_s=settings.send_timeout_ms / 1000
    )
    log = AccessLog(
        metrics.requests.observe, tracing.request if tracing is not None else sent_trace
    )
    app = web.Application(middlewares=[around_requests(ResponseSender(pending, compression), log)])
    app.add_routes(routes.routes())
    app.add_routes(
        SubscriptionRoutes(
            service=subscriptions.service,
            reads=reads,
            body_timeout_s=settings.body_timeout_ms / 1000,
        ).routes()
    )
    app.cleanup_ctx.append(life)
    app[DRAIN] = drain
    app[ABANDON] = store.abandon
    app[FIRST_TRY] = monitor.tried
    app[GATE] = gate
    app[BROWSER_GUARD] = BrowserGuard(settings.allow_origin, settings.allowed_host)
    check_needs(app.router.routes())
    app[FAST_PATH] = FastPath(publish_service, log, gate)
    app[TOKENS] = tokens
    app[PENDING_RESPONSES] = pending
    app.on_shutdown.append(lambda _app: drain())
    app.on_shutdown.append(end_streams_soon)
    return app


async def _watch_store(
    monitor: StoreMonitor, on_fatal: Callable[[StorageError], None] | None
) -> None:
    try:
        await monitor.run()
    except StorageError as error:
        _log.error("storage_unusable", reason=str(error))
        if on_fatal is not None:
            on_fatal(error)
    except Exception as error:  # noqa: BLE001 - unwatched, the store would never be used again
        _log.exception("storage_watch_failed")
        if on_fatal is not None:
            on_fatal(StorageError(f"the storage can't be watched: {error!r}"))
    finally:
        monitor.tried.set()


def _log_availability(reason: str | None) -> None:
    if reason is None:
        _log.info("storage_available")
    else:
        _log.warning("storage_unavailable", reason=reason)


def _log_text() -> Callable[[str], None]:
    rate_limit = LogRateLimit("storage_process_error", _MAX_TEXTS_PER_SECOND, level="error")

    def log_text(text: str) -> None:
        fields = rate_limit.fields()
        if fields is not None:
            _log.error("storage_process_error", text=text, **fields)

    return log_text

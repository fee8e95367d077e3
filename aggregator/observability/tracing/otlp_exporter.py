"""From settings to spans that are exported: OpenTelemetry's SDK, and a bound on what it costs.

A collector that is slow, out of reach or wrong costs spans, never a publish: they wait in a queue
of the SDK's, which drops the oldest, and a thread of the SDK's sends them. What the SDK has to say
of it is a line now and then, and at the end of the process the last spans have a few seconds.
"""

import asyncio
import logging
import os
import threading
import time
from urllib.parse import urlsplit

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from aggregator import __version__
from aggregator.ingest.telemetry import CannotTrace
from aggregator.logging.rate_limit import suppressed_fields
from aggregator.observability.tracing.spans import Spans

SERVICE_NAME = "pubsub-log-aggregator"
LAST_SPANS_S = 3.0
LOG_EVERY_S = 60.0

_PROTOCOL = "http/protobuf"
_POLL_S = 0.01

_log = structlog.get_logger()


class ExportedSpans(Spans):
    """Spans that are exported with OTLP over HTTP, as the environment says (`OTEL_...`).

    Args:
        database: what OpenTelemetry calls the store's database: `db.system.name`.

    Raises:
        CannotTrace: a variable has a value that can't be used.
    """

    def __init__(self, database: str) -> None:
        _check_environment()
        try:
            limits = SpanLimits()
            # Its own attributes would win over those of the environment.
            resource = Resource.create(
                {
                    "service.name": SERVICE_NAME,
                    "service.version": __version__,
                    **OTELResourceDetector().detect().attributes,
                }
            )
            self._exporter: SpanExporter = OTLPSpanExporter()
            self._processor = BatchSpanProcessor(self._exporter)
        # The latter: a provider of credentials is named that is not installed.
        except (ValueError, RuntimeError) as error:
            raise CannotTrace(f"a variable of OpenTelemetry's can't be used: {error}") from error
        # A flush has no parent that could be asked, and is asked for by the requests it serves.
        requests, flushes = (
            TracerProvider(sampler, resource, shutdown_on_exit=False, span_limits=limits)
            for sampler in (None, ALWAYS_ON)
        )
        for provider in (requests, flushes):
            provider.add_span_processor(self._processor)
        super().__init__(
            requests.get_tracer("aggregator", __version__),
            flushes.get_tracer("aggregator", __version__),
            max_links=limits.max_links,
            database=database,
        )
        self._library_log = _OpenTelemetryLog()
        self._library_log.begin()

    async def aclose(self) -> None:
        """Export the spans that wait, in a few seconds at the most; the rest is given up."""
        # Not one of the loop's own threads: the loop would wait for it at its end.
        last = threading.Thread(target=self._processor.shutdown, name="last-spans", daemon=True)
        last.start()
        gives_up_at = time.monotonic() + LAST_SPANS_S
        while last.is_alive() and time.monotonic() < gives_up_at:  # noqa: ASYNC110 - of a thread
            await asyncio.sleep(_POLL_S)
        self._library_log.end()
        if last.is_alive():
            _log.warning(
                "tracing_failed",
                reason=f"the last spans were not taken within {LAST_SPANS_S:g} seconds",
            )
            self._exporter.shutdown()


def _check_environment() -> None:
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(name) or _PROTOCOL
        if protocol != _PROTOCOL:
            raise CannotTrace(f"{name} is {protocol!r}; spans are exported with {_PROTOCOL} only")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        endpoint = os.environ.get(name)
        if endpoint and not _is_url(endpoint):
            raise CannotTrace(
                f"{name} is {endpoint!r}; it must be a URL like http://127.0.0.1:4318"
            )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0


class _OpenTelemetryLog(logging.Handler):
    """A handler of what OpenTelemetry logs: one line in a while, without tracebacks.

    It logs every attempt that fails, and some of what it can't export span by span.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._logger = logging.getLogger("opentelemetry")
        self._next_at = 0.0
        self._suppressed = 0

    def begin(self) -> None:
        """Take the lines of OpenTelemetry, so that they go nowhere else."""
        self._logger.addHandler(self)
        self._logger.propagate = False

    def end(self) -> None:
        """Log nothing more: what comes now comes of giving up."""
        self.setLevel(logging.CRITICAL + 1)
        if self._suppressed:
            suppressed, self._suppressed = self._suppressed, 0
            _log.warning(
                "log_lines_suppressed", of="tracing_failed", **suppressed_fields(suppressed)
            )

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`; called under its lock, from any thread."""
        now = time.monotonic()
        if now < self._next_at:
            self._suppressed += 1
            return
        self._next_at = now + LOG_EVERY_S
        more = suppressed_fields(self._suppressed)
        self._suppressed = 0
        _log.warning("tracing_failed", reason=record.getMessage(), logger=record.name, **more)

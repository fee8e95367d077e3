"""A collector of spans: takes OTLP over HTTP, as OpenTelemetry's exporters send it."""

import gzip
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from support.processes import wait_for

Place = tuple[str, str]
"""Of a span: the ids of its trace and its own."""


class Span(NamedTuple):
    """A span as it was exported."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty: it begins its trace."""
    tracestate: str
    links: Sequence[Place]
    attributes: Mapping[str, Any]
    failed: bool
    message: str
    start_ns: int
    end_ns: int

    @property
    def place(self) -> Place:
        """Where it is."""
        return self.trace_id, self.span_id


class Collector:
    """What came in so far."""

    def __init__(self) -> None:
        self.url = ""
        self.paths: set[str] = set()
        self.resources: list[Mapping[str, Any]] = []
        self._spans: list[Span] = []
        self._changed = threading.Lock()

    def take(self, path: str, body: bytes) -> None:
        """Take in one export."""
        request = ExportTraceServiceRequest.FromString(body)
        with self._changed:
            self.paths.add(path)
            for of_resource in request.resource_spans:
                self.resources.append(_values(of_resource.resource.attributes))
                for of_scope in of_resource.scope_spans:
                    self._spans += [_span(each) for each in of_scope.spans]

    def spans(self, name: str | None = None) -> list[Span]:
        """All, or those of one name, in the order in which they ended."""
        with self._changed:
            found = [span for span in self._spans if name is None or span.name == name]
        return sorted(found, key=lambda span: span.end_ns)

    def wait_for(self, name: str, count: int = 1) -> list[Span]:
        """The spans of one name, as soon as there are so many."""
        wait_for(lambda: len(self.spans(name)) >= count, f"{count} spans {name!r}")
        found = self.spans(name)
        assert len(found) == count
        return found

    def environment(self, **more: str) -> dict[str, str]:
        """What tells an exporter to send spans here, soon after they ended."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "NO_PROXY": "127.0.0.1",
            **more,
        }


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a port of its own."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            collector.take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _span(sent: trace_pb2.Span) -> Span:
    return Span(
        name=sent.name,
        kind=trace_pb2.Span.SpanKind.Name(sent.kind).removeprefix("SPAN_KIND_"),
        trace_id=sent.trace_id.hex(),
        span_id=sent.span_id.hex(),
        parent_id=sent.parent_span_id.hex(),
        tracestate=sent.trace_state,
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in sent.links],
        attributes=_values(sent.attributes),
        failed=sent.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        message=sent.status.message,
        start_ns=sent.start_time_unix_nano,
        end_ns=sent.end_time_unix_nano,
    )


def _values(attributes: Sequence[KeyValue]) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in attributes
    }

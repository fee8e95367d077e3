#!/usr/bin/env bash
# OpenTelemetry's exporter of logs over HTTP, 1.45.2 for Python, drops a batch at once when it is
# told to wait for more than what is left of its ten seconds.
#
# `Retry-After: 3` with a 503 is waited for, and the batch arrives. With `Retry-After: 11` there is
# no second request; `force_flush()` says True in both cases.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
"$folder/venv/bin/python" - >"$folder/seen" 2>"$folder/errors" <<'PYTHON'
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor


class Once503(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        statuses.append(200 if statuses else 503)
        self.send_response(statuses[-1])
        self.send_header("Content-Length", "0")
        if statuses[-1] == 503:
            self.send_header("Retry-After", str(seconds))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


for seconds in (3, 11):
    statuses: list[int] = []
    server = HTTPServer(("127.0.0.1", 0), Once503)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    exporter = OTLPLogExporter(endpoint=f"http://127.0.0.1:{server.server_port}/v1/logs")
    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    provider.get_logger("shop").emit(LogRecord(body="sold"))
    flushed = provider.force_flush()
    print(f"Retry-After: {seconds}: answers {statuses}, force_flush() {flushed}")
    provider.shutdown()
    server.shutdown()
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
Retry-After: 3: answers [503, 200], force_flush() True
Retry-After: 11: answers [503], force_flush() True
SEEN
echo "as it was"

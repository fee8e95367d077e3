#!/usr/bin/env bash
# Two Python clients of server-sent events give half an event, where a stream ends in the midst of one.
#
# The HTML standard says that an event whose blank line has not come when a stream ends is dropped. An
# answer over HTTP/1.0, and one without a length and without chunks, ends with its connection, whoever closed
# that: its client can't know that it was cut off. sseclient-py gives what there was of the event, with
# its id, behind which the reader would go on. aiohttp-sse-client2 joins it to the first event of the next
# connection, or gives that one the name of the half. httpx-sse and requests-sse drop it.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiohttp==3.14.5 aiohttp-sse-client2==0.3.0 \
    httpx==0.28.1 httpx-sse==0.4.3 requests==2.34.2 requests-sse==0.5.3 sseclient-py==1.9.0
"$folder/venv/bin/python" - >"$folder/seen" <<'PYTHON'
import asyncio
import socket
import threading
from datetime import timedelta
from itertools import islice

import aiohttp_sse_client2.client
import httpx
import httpx_sse
import requests
import requests_sse
import sseclient

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
ENDS = {
    "in the midst of its data": b"id: 1\ndata: one\n\nid: 2\ndata: tw",
    "behind its name": b"id: 1\ndata: one\n\nevent: gap\nid: 2\n",
}
NEXT = b"id: 2\ndata: two\n\nid: 3\ndata: three\n\n"
SOON = timedelta(milliseconds=10)


def serve(server, *bodies):
    for body in bodies:
        connection, _ = server.accept()
        connection.recv(65536)
        connection.sendall(HEAD + body)
        connection.close()


def with_sseclient(url):
    stream = requests.get(url, stream=True)
    return [(e.event, e.data, e.id) for e in sseclient.SSEClient(stream).events()]


def with_httpx_sse(url):
    with httpx.stream("GET", url) as stream:
        events = httpx_sse.EventSource(stream).iter_sse()
        return [(e.event, e.data, e.id) for e in events]


def with_requests_sse(url):
    with requests_sse.EventSource(url, reconnection_time=SOON) as events:
        return [(e.type, e.data, e.last_event_id) for e in islice(events, 3)]


def with_aiohttp_sse_client2(url):
    async def read():
        seen = []
        source = aiohttp_sse_client2.client.EventSource(url, reconnection_time=SOON)
        async with source as events:
            async for e in events:
                seen.append((e.type or "message", e.data, e.last_event_id))
                if e.data == "three":
                    return seen

    return asyncio.run(read())


for end, half in ENDS.items():
    print(f"an event that ends {end}")
    for read in with_httpx_sse, with_requests_sse, with_sseclient, with_aiohttp_sse_client2:
        server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=serve, args=[server, half, NEXT], daemon=True).start()
        print(f"{read.__name__}: {read(f'http://127.0.0.1:{server.getsockname()[1]}/')}")
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
an event that ends in the midst of its data
with_httpx_sse: [('message', 'one', '1')]
with_requests_sse: [('message', 'one', '1'), ('message', 'two', '2'), ('message', 'three', '3')]
with_sseclient: [('message', 'one', '1'), ('message', 'tw', '2')]
with_aiohttp_sse_client2: [('message', 'one', '1'), ('message', 'tw\ntwo', '2'), ('message', 'three', '3')]
an event that ends behind its name
with_httpx_sse: [('message', 'one', '1')]
with_requests_sse: [('message', 'one', '1'), ('message', 'two', '2'), ('message', 'three', '3')]
with_sseclient: [('message', 'one', '1')]
with_aiohttp_sse_client2: [('message', 'one', '1'), ('gap', 'two', '2'), ('message', 'three', '3')]
SEEN
echo "as it was"

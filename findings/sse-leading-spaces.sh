#!/usr/bin/env bash
# Two Python clients of server-sent events drop all spaces at the beginning of a line of data.
#
# The HTML standard takes away one, the space behind the colon. requests-sse and aiohttp-sse-client2 take
# away all: words that are streamed one by one run together, and indented text is flat.
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
from itertools import islice

import aiohttp_sse_client2.client
import httpx
import httpx_sse
import requests
import requests_sse
import sseclient

ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    b"data: two\n\ndata:  words\n\ndata: if so:\ndata:     say()\n\n"
)
EVENTS = 3


def serve(server):
    connection, _ = server.accept()
    connection.recv(65536)
    connection.sendall(ANSWER)
    connection.close()


def with_sseclient(url):
    events = sseclient.SSEClient(requests.get(url, stream=True)).events()
    return [event.data for event in events]


def with_httpx_sse(url):
    with httpx.stream("GET", url) as stream:
        return [event.data for event in httpx_sse.EventSource(stream).iter_sse()]


def with_requests_sse(url):
    with requests_sse.EventSource(url) as events:
        return [event.data for event in islice(events, EVENTS)]


def with_aiohttp_sse_client2(url):
    async def read():
        async with aiohttp_sse_client2.client.EventSource(url) as events:
            return [(await anext(events)).data for _ in range(EVENTS)]

    return asyncio.run(read())


for read in with_httpx_sse, with_sseclient, with_requests_sse, with_aiohttp_sse_client2:
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=[server], daemon=True).start()
    print(f"{read.__name__}: {read(f'http://127.0.0.1:{server.getsockname()[1]}/')}")
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
with_httpx_sse: ['two', ' words', 'if so:\n    say()']
with_sseclient: ['two', ' words', 'if so:\n    say()']
with_requests_sse: ['two', 'words', 'if so:\nsay()']
with_aiohttp_sse_client2: ['two', 'words', 'if so:\nsay()']
SEEN
echo "as it was"

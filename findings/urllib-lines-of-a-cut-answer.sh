#!/usr/bin/env bash
# Python's urllib does not notice that a chunked answer was cut off, if it is read line by line.
#
# A server ends the connection behind a chunk, without the last one: the answer is not whole. read() and
# read1() raise IncompleteRead; iteration over the lines and readlines() end as if it were.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet requests==2.34.2 httpx==0.28.1 aiohttp==3.14.5
"$folder/venv/bin/python" - >"$folder/seen" <<'PYTHON'
import asyncio
import socket
import threading
import urllib.request

import aiohttp
import httpx
import requests

BODY = b'{"n": 1}\n{"n": 2}\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


def answer_one_chunk(server):
    while True:
        connection, _ = server.accept()
        connection.recv(65536)
        connection.sendall(HEAD + b"%x\r\n%b\r\n" % (len(BODY), BODY))
        connection.close()


def urllib_lines(url):
    with urllib.request.urlopen(url) as answer:
        return list(answer)


def urllib_readlines(url):
    with urllib.request.urlopen(url) as answer:
        return answer.readlines()


def urllib_read(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def urllib_read1(url):
    with urllib.request.urlopen(url) as answer:
        while answer.read1(1000):
            pass


def requests_lines(url):
    with requests.get(url, stream=True) as answer:
        return list(answer.iter_lines())


def httpx_lines(url):
    with httpx.stream("GET", url) as answer:
        return list(answer.iter_lines())


def aiohttp_lines(url):
    async def read():
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return [line async for line in answer.content]

    return asyncio.run(read())


server = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=answer_one_chunk, args=[server], daemon=True).start()
url = f"http://127.0.0.1:{server.getsockname()[1]}/"
for read in (
    urllib_lines, urllib_readlines, urllib_read, urllib_read1,
    requests_lines, httpx_lines, aiohttp_lines,
):
    try:
        read(url)
        print(f"{read.__name__}: ends without an error")
    except Exception as error:
        print(f"{read.__name__}: raises {type(error).__name__}")
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
urllib_lines: ends without an error
urllib_readlines: ends without an error
urllib_read: raises IncompleteRead
urllib_read1: raises IncompleteRead
requests_lines: raises ChunkedEncodingError
httpx_lines: raises RemoteProtocolError
aiohttp_lines: raises ClientPayloadError
SEEN
echo "as it was"

#!/usr/bin/env bash
# HAProxy 2.6 with `compression algo gzip` gives each event of a stream when the next one comes.
#
# It flushes what it compresses at each piece of an answer, but for the last bits, and in them is the
# end of the event, often no more than its blank line: without that the reader has no event. Without a line
# `compression type` it compresses every type. It leaves an answer alone that says `Cache-Control: no-transform`.
set -eu
PATH=$PATH:/usr/sbin:/sbin
command -v haproxy >/dev/null || { echo "needs haproxy: apt-get install haproxy" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 - "$folder/haproxy.cfg" >"$folder/seen" <<'PYTHON'
import http.client
import socket
import subprocess
import sys
import threading
import time
import zlib

CONFIGURATION = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen proxy
    bind 127.0.0.1:{port}
    compression algo gzip
    server origin 127.0.0.1:{origin}
"""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
SILENCE_S = 1.0


def read(answer, came):
    gzip = answer.headers["Content-Encoding"] == "gzip"
    decompressed = zlib.decompressobj(31).decompress if gzip else bytes
    while piece := answer.read1(65536):
        came.append(decompressed(piece))


def ask(origin, port, coding, header):
    print(f"Accept-Encoding: {coding}, Cache-Control: {header}")
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(f"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n".encode())
    server, _ = origin.accept()
    server.recv(65536)
    server.sendall(HEAD + f"Cache-Control: {header}\r\n\r\n".encode())
    answer = http.client.HTTPResponse(client)
    came = []
    for number in range(3):
        event = b"data: event number %d\n\n" % number
        server.sendall(b"%x\r\n%b\r\n" % (len(event), event))
        if number == 0:
            answer.begin()
            reader = threading.Thread(target=read, args=[answer, came])
            reader.start()
        time.sleep(SILENCE_S)
        print(f"sent {event!r}, came {b''.join(came)!r}")
        came.clear()
    server.sendall(b"0\r\n\r\n")
    reader.join()
    print(f"at the end came {b''.join(came)!r}")


origin = socket.create_server(("127.0.0.1", 0))
free = socket.create_server(("127.0.0.1", 0))
port = free.getsockname()[1]
free.close()
with open(sys.argv[1], "w") as file:
    file.write(CONFIGURATION.format(port=port, origin=origin.getsockname()[1]))
proxy = subprocess.Popen(["haproxy", "-db", "-f", sys.argv[1]])
try:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    ask(origin, port, "identity", "no-store")
    ask(origin, port, "gzip", "no-store")
    ask(origin, port, "gzip", "no-transform")
finally:
    proxy.kill()
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
Accept-Encoding: identity, Cache-Control: no-store
sent b'data: event number 0\n\n', came b'data: event number 0\n\n'
sent b'data: event number 1\n\n', came b'data: event number 1\n\n'
sent b'data: event number 2\n\n', came b'data: event number 2\n\n'
at the end came b''
Accept-Encoding: gzip, Cache-Control: no-store
sent b'data: event number 0\n\n', came b'data: event number '
sent b'data: event number 1\n\n', came b'0\n\ndata: event number 1\n'
sent b'data: event number 2\n\n', came b'\ndata: event number '
at the end came b'2\n\n'
Accept-Encoding: gzip, Cache-Control: no-transform
sent b'data: event number 0\n\n', came b'data: event number 0\n\n'
sent b'data: event number 1\n\n', came b'data: event number 1\n\n'
sent b'data: event number 2\n\n', came b'data: event number 2\n\n'
at the end came b''
SEEN
echo "as it was"

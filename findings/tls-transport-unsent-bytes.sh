#!/usr/bin/env bash
# Over TLS, the transports of asyncio (Python 3.11) and uvloop 0.23.0 tell nothing of unsent bytes.
#
# `get_write_buffer_size()` counts what the TLS layer holds, and it hands everything on to the transport
# of the socket at once. So it is 0 while megabytes wait for a reader that takes nothing; over plain TCP it
# is their number. And with `set_write_buffer_limits(high=0)`, which asks to be told as soon as anything is
# left over, `pause_writing` comes with the first write to a reader that takes all of it. Who bounds
# answers to slow readers by these two bounds nothing over TLS.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvloop==0.23.0 trustme==1.2.1
"$folder/venv/bin/python" - >"$folder/seen" <<'PYTHON'
import asyncio
import socket
import ssl
import threading

import trustme
import uvloop

authority = trustme.CA()
server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
authority.issue_cert("localhost").configure_cert(server_context)
client_context = ssl.create_default_context()
authority.configure_trust(client_context)


class Writer(asyncio.Protocol):
    def __init__(self, size, done):
        self.size, self.done, self.pauses = size, done, []

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=0)
        asyncio.get_running_loop().call_later(0.2, self.write)

    def write(self):
        self.transport.write(b"x" * self.size)
        asyncio.get_running_loop().call_later(0.5, self.end)

    def pause_writing(self):
        self.pauses.append(self.transport.get_write_buffer_size())

    def resume_writing(self):
        pass

    def end(self):
        self.done.set_result((self.pauses, self.transport.get_write_buffer_size()))
        self.transport.abort()


async def seen(size, tls, reads):
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    server = await loop.create_server(
        lambda: Writer(size, done), "127.0.0.1", 0, ssl=server_context if tls else None
    )
    port = server.sockets[0].getsockname()[1]
    end = threading.Event()

    def read():
        client = socket.create_connection(("127.0.0.1", port))
        if tls:
            client = client_context.wrap_socket(client, server_hostname="localhost")
        if not reads:
            end.wait()
        try:
            while client.recv(65536):
                pass
        except OSError:
            pass
        client.close()

    thread = threading.Thread(target=read)
    thread.start()
    pauses, left = await done
    end.set()
    server.close()
    await asyncio.to_thread(thread.join)
    return bool(pauses), left > 0


async def main():
    for tls in (False, True):
        paused, left = await seen(10, tls, True)
        print(f"  {'TLS' if tls else 'TCP'}: 10 bytes to who reads: told to pause: {paused}")
        paused, left = await seen(20_000_000, tls, False)
        print(f"  {'TLS' if tls else 'TCP'}: 20 MB to who does not: unsent bytes are told: {left}")


print("asyncio")
asyncio.run(main())
print("uvloop")
uvloop.run(main())
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
asyncio
  TCP: 10 bytes to who reads: told to pause: False
  TCP: 20 MB to who does not: unsent bytes are told: True
  TLS: 10 bytes to who reads: told to pause: True
  TLS: 20 MB to who does not: unsent bytes are told: False
uvloop
  TCP: 10 bytes to who reads: told to pause: False
  TCP: 20 MB to who does not: unsent bytes are told: True
  TLS: 10 bytes to who reads: told to pause: True
  TLS: 20 MB to who does not: unsent bytes are told: False
SEEN
echo "as it was"

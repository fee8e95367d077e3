"""Server processes to measure: aggregators, and the bare handler."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil

_LIMIT_S = 60.0


class Server:
    """A process that listens on a port of this machine."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.port = port
        self._process = psutil.Process(process.pid)

    def cpu_s(self) -> float:
        """Seconds of processor time it has used so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self) -> int:
        """Memory it has now."""
        return int(self._process.memory_info().rss)


@contextmanager
def aggregator(arguments: Sequence[str]) -> Iterator[Server]:
    """One with its default settings but for these, logs and all."""
    with tempfile.TemporaryDirectory(prefix="bench-log-") as directory:
        log = Path(directory) / "log"
        with (
            log.open("wb") as output,
            _process(["-m", "aggregator", "--port", "0", *arguments], stdout=output) as process,
        ):
            yield Server(process, _port(process, log))


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + _LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        for line in log.read_bytes().splitlines():
            if b'"event":"listening"' in line:
                return urlsplit(json.loads(line)["url"]).port or 0
        time.sleep(0.05)
    raise RuntimeError(f"the aggregator does not listen: {log.read_text()[-500:]}")


@contextmanager
def bare_handler() -> Iterator[Server]:
    """The ceiling of HTTP, see `benchmarks.bare_handler`."""
    with _process(["-m", "benchmarks.bare_handler"], stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise RuntimeError("the bare handler has no output")
        yield Server(process, int(process.stdout.readline()))


@contextmanager
def _process(arguments: Sequence[str], stdout: object) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(  # noqa: S603 - what it runs is ours
        [sys.executable, *arguments],
        stdout=stdout,  # type: ignore[call-overload]
        cwd=Path(__file__).parents[1],
    ) as process:
        try:
            yield process
        finally:
            process.terminate()

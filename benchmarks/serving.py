"""The server processes that are measured: aggregators, the bare handler, a peer."""

import importlib.util
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

OWN_CHECKOUT = Path(__file__).parents[1]

_LIMIT_S = 60.0
_INSERT_PEER_NEEDS = ("fastapi", "uvicorn")


class Server:
    """A process that listens on a port of this machine."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.port = port
        self._process = psutil.Process(process.pid)

    def cpu_s(self) -> float:
        """Return the processor time of the server and its writer process so far, in seconds."""
        times = [process.cpu_times() for process in self.processes()]
        return float(sum(each.user + each.system for each in times))

    def resident_bytes(self) -> int:
        """Return its resident memory in bytes."""
        return sum(int(process.memory_info().rss) for process in self.processes())

    def processes(self) -> list[psutil.Process]:
        """Return its process and those that it started."""
        return [self._process, *self._process.children()]


def interpreter(checkout: Path) -> str:
    """Return the Python of a checkout: that of its own `.venv`, if it has one.

    Another checkout may need other packages than this one. Without a `.venv`, and for this
    checkout, it is the Python that runs here.
    """
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if checkout != OWN_CHECKOUT and own.exists() else sys.executable


@contextmanager
def aggregator(arguments: Sequence[str], checkout: Path = OWN_CHECKOUT) -> Iterator[Server]:
    """Run an aggregator of this checkout or another, with default settings but for these."""
    with tempfile.TemporaryDirectory(prefix="bench-log-") as directory:
        log = Path(directory) / "log"
        command = ["-m", "aggregator", "--port", "0", *arguments]
        with (
            log.open("wb") as output,
            _process(command, stdout=output, checkout=checkout) as process,
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
    """Run the ceiling of HTTP, `benchmarks.bare_handler`."""
    with _that_tells_its_port(["-m", "benchmarks.bare_handler"]) as server:
        yield server


@contextmanager
def bare_streams(record: Path, start: str) -> Iterator[Server]:
    """Run the ceiling of streams, `benchmarks.bare_streams`, from `start` or `now`."""
    with _that_tells_its_port(["-m", "benchmarks.bare_streams", str(record), start]) as server:
        yield server


def insert_peer_missing() -> str:
    """Return why `insert_peer` can't run here, None if it can."""
    missing = [name for name in _INSERT_PEER_NEEDS if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


@contextmanager
def insert_peer(dsn: str) -> Iterator[Server]:
    """Run the peer that inserts each event, `benchmarks.peer_insert`, on an empty database."""
    with _that_tells_its_port(["-m", "benchmarks.peer_insert", dsn]) as server:
        yield server


@contextmanager
def _that_tells_its_port(arguments: Sequence[str]) -> Iterator[Server]:
    with _process(arguments, stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise RuntimeError("the process has no output")
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"python {' '.join(arguments)} does not listen")
        yield Server(process, int(line))


@contextmanager
def _process(
    arguments: Sequence[str], stdout: object, checkout: Path = OWN_CHECKOUT
) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(  # noqa: S603 - what it runs is ours
        [interpreter(checkout), *arguments],
        stdout=stdout,  # type: ignore[call-overload]
        cwd=checkout,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()

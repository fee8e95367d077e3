"""Server processes to measure: aggregators, the bare handler, a peer."""

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
        """Seconds of processor time it and the process it stores with have used so far."""
        times = [process.cpu_times() for process in self._processes()]
        return float(sum(each.user + each.system for each in times))

    def resident_bytes(self) -> int:
        """Memory it has now."""
        return sum(int(process.memory_info().rss) for process in self._processes())

    def _processes(self) -> list[psutil.Process]:
        return [self._process, *self._process.children()]


def interpreter(checkout: Path) -> str:
    """The Python of a checkout: that of its own `.venv`, since it may need other packages than
    this one; without one, or for this checkout, the Python that runs here.
    """
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if checkout != OWN_CHECKOUT and own.exists() else sys.executable


@contextmanager
def aggregator(arguments: Sequence[str], checkout: Path = OWN_CHECKOUT) -> Iterator[Server]:
    """One with its default settings but for these, logs and all; of this checkout or another."""
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
    """The ceiling of HTTP, see `benchmarks.bare_handler`."""
    with _that_tells_its_port(["-m", "benchmarks.bare_handler"]) as server:
        yield server


def insert_peer_missing() -> str:
    """Why `insert_peer` can't run here; nothing if it can."""
    missing = [name for name in _INSERT_PEER_NEEDS if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


@contextmanager
def insert_peer(dsn: str) -> Iterator[Server]:
    """The peer that inserts each event, on an empty database; see `benchmarks.peer_insert`."""
    with _that_tells_its_port(["-m", "benchmarks.peer_insert", dsn]) as server:
        yield server


@contextmanager
def _that_tells_its_port(arguments: Sequence[str]) -> Iterator[Server]:
    with _process(arguments, stdout=subprocess.PIPE) as process:
        if process.stdout is None:
            raise RuntimeError("the process has no output")
        told = process.stdout.readline()
        if not told:
            raise RuntimeError(f"python {' '.join(arguments)} does not listen")
        yield Server(process, int(told))


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

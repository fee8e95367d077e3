"""Logs that real programs write and rotate, and which lines these wrote."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Protocol

from aiohttp.test_utils import unused_port

from support.own_postgres import OwnPostgres
from support.processes import wait_for
from support.programs import program

_PYTHON = """
import logging, sys, time
from logging.handlers import RotatingFileHandler, TimedRotatingFileHandler
kind, path, lines = sys.argv[1], sys.argv[2], 0
if kind == "size":
    handler = RotatingFileHandler(path, maxBytes=1 << 30, backupCount=50)
else:
    handler = TimedRotatingFileHandler(path, when="S", backupCount=50)
    handler.rolloverAt = 1 << 34
logger = logging.getLogger(kind)
logger.addHandler(handler)
for command in sys.stdin:
    if command == "rotate\\n" and kind == "size":
        handler.doRollover()
    elif command == "rotate\\n":
        # The name is of the second before, which must be another one each time.
        second = int(time.time())
        while int(time.time()) == second:
            time.sleep(0.01)
        handler.rolloverAt = int(time.time())
        handler.doRollover()
        handler.rolloverAt = 1 << 34
    else:
        for _ in range(int(command)):
            logger.error("%s line %d", kind, lines)
            lines += 1
    print(flush=True)
"""
_NGINX = """
daemon off;
pid {directory}/nginx.pid;
user root;
error_log stderr warn;
events {{}}
http {{
    access_log {log};
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }}
}}
"""


class Log(Protocol):
    """A log that a program writes, and that it or another one rotates."""

    @property
    def written(self) -> Sequence[bytes]:
        """All lines that were written; no two are alike."""

    def write(self, lines: int) -> None:
        """Write so many lines."""

    def rotate(self) -> None:
        """Rotate, and have the program write to the new file."""


class Rotated:
    """A log of a program that goes on with the file that it holds until it opens it anew.

    Args:
        path: of the log.
        rotate: rotates it.
        late: lines that are written between the rotation and opening it anew; None: the program
            goes on with its file, which was emptied.
    """

    def __init__(self, path: Path, rotate: Callable[[], None], late: int | None) -> None:
        self.path = path
        self.written: list[bytes] = []
        self._rotate = rotate
        self._late = late
        self._file = path.open("ab", buffering=0)

    def write(self, lines: int) -> None:
        for _ in range(lines):
            self.put(f"{self.path.parent.name} line {len(self.written)}".encode())

    def put(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self.written.append(line + b"\n")

    def rotate(self) -> None:
        self._rotate()
        if self._late is not None:
            self.write(self._late)
            self._file.close()
            self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        self._file.close()


class Logrotate:
    """The real logrotate with some directives, run by hand.

    Args:
        log: the log.
        directory: for its configuration and state.
        directives: for the log.
    """

    def __init__(self, log: Path, directory: Path, directives: Sequence[str]) -> None:
        directory.mkdir(parents=True)
        self._state = directory / "state"
        self._configuration = directory / "logrotate.conf"
        lines = [f"{log} {{", "rotate 50", *directives, "}"]
        self._configuration.write_text("\n".join(lines) + "\n")
        self._configuration.chmod(0o644)

    def __call__(self) -> None:
        wait_for(self._rotates, "logrotate")

    def _rotates(self) -> bool:
        ended = subprocess.run(
            [program("logrotate"), "-f", "-s", self._state, self._configuration],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        # A name that has the second in it can be had once a second.
        assert ended.returncode == 0 or "exists, skipping rotation" in ended.stderr, ended.stderr
        return ended.returncode == 0


class Cri(Rotated):
    """A log as containerd writes it."""

    def put(self, line: bytes) -> None:
        self._file.write(b"2026-03-01T12:00:00.123456789Z stdout F %b\n" % line)
        self.written.append(line)


class JsonFile(Rotated):
    """A log as the `json-file` driver of Docker writes it."""

    def put(self, line: bytes) -> None:
        record = {"log": f"{line.decode()}\n", "stream": "stdout", "time": "2026-03-01T12:00:00Z"}
        self._file.write(json.dumps(record).encode() + b"\n")
        self.written.append(line)


class PythonLog:
    """A process that logs with one of the handlers of Python that rotate.

    Args:
        kind: `size` or `time`, by which the handler rotates.
        path: of the log.
    """

    def __init__(self, kind: str, path: Path) -> None:
        path.parent.mkdir()
        self.path = path
        self.written: list[bytes] = []
        self._kind = kind
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PYTHON, kind, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write(self, lines: int) -> None:
        self._command(str(lines))
        first = len(self.written)
        self.written += [
            b"%s line %d\n" % (self._kind.encode(), number)
            for number in range(first, first + lines)
        ]

    def rotate(self) -> None:
        self._command("rotate")

    def close(self) -> None:
        self._process.communicate()

    def _command(self, command: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "\n"


class Nginx:
    """A real nginx, rotated as its manual says: `mv`, then USR1.

    Args:
        path: of its access log.
        directory: for what else it needs.
    """

    def __init__(self, path: Path, directory: Path) -> None:
        directory.mkdir()
        self.path = path
        self._port = unused_port()
        self._requests = self._rotations = 0
        configuration = directory / "nginx.conf"
        configuration.write_text(_NGINX.format(directory=directory, log=path, port=self._port))
        self._process = subprocess.Popen(
            [program("nginx"), "-p", directory, "-c", configuration, "-e", "stderr"],
            stderr=subprocess.DEVNULL,
        )
        self._connection = HTTPConnection("127.0.0.1", self._port)
        wait_for(self._listens, "nginx")

    @property
    def written(self) -> list[bytes]:
        return [b"/%d" % number for number in range(self._requests)]

    def write(self, lines: int) -> None:
        for _ in range(lines):
            self._connection.request("GET", f"/{self._requests}")
            self._connection.getresponse().read()
            self._requests += 1

    def rotate(self) -> None:
        self._rotations += 1
        # Newer ones have greater numbers, so that none is renamed a second time.
        self.path.rename(self.path.with_name(f"{self.path.name}.{self._rotations}"))
        self.write(3)
        self._process.send_signal(signal.SIGUSR1)
        wait_for(self.path.exists, "a new log")

    def close(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.wait()

    def _listens(self) -> bool:
        assert self._process.poll() is None
        try:
            self._connection.connect()
        except ConnectionRefusedError:
            return False
        return True


class PostgresLog:
    """The files that Postgres' own collector writes, under the names that it gives by default.

    Args:
        server: the server, which runs.
    """

    def __init__(self, server: OwnPostgres) -> None:
        self._server = server
        self._lines = 0
        self.directory = server.data / "collected"
        server.set("log_directory = 'collected'")
        server.execute("ALTER SYSTEM SET logging_collector = on")
        server.restart_with(lambda: None)

    def contents(self) -> dict[str, bytes]:
        """What is in the files, by their names; nobody renames or removes one."""
        return {path.name: path.read_bytes() for path in self.directory.glob("*.log")}

    @property
    def written(self) -> list[bytes]:
        return b"".join(sorted(self.contents().values())).splitlines(keepends=True)

    def write(self, lines: int) -> None:
        first, self._lines = self._lines, self._lines + lines
        self._server.execute(
            f"DO $$ BEGIN FOR number IN {first}..{self._lines - 1} LOOP "
            "RAISE LOG 'line %', number; END LOOP; END $$"
        )
        last = b"LOG:  line %d\n" % (self._lines - 1)
        wait_for(lambda: any(last in content for content in self.contents().values()), "a line")

    def rotate(self) -> None:
        # A name has the second in it: within one, the collector goes on with its file.
        files = len(self.contents())
        wait_for(lambda: self._rotates(files), "a new log")

    def _rotates(self, files: int) -> bool:
        self._server.execute("SELECT pg_rotate_logfile()")
        return len(self.contents()) > files

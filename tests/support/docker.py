"""A Compose project, run by the Docker engine of this machine."""

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

_URL = "http://127.0.0.1:8080"
_READY_S = 120.0


class Compose:
    """The project in a directory, under a name of its own.

    Args:
        directory: where its files are.
        project: its name; containers, networks and volumes begin with it.
        files: the files to use, one laid over the other; those that Compose takes by itself if
            there are none.
        password: of the database; None to give none.
    """

    def __init__(
        self,
        directory: Path,
        *,
        project: str,
        files: Sequence[str] = (),
        password: str | None = None,
    ) -> None:
        self._directory = directory
        self._project = project
        self._files = files
        self._password = password or secrets.token_hex(16)

    def with_files(self, *files: str) -> "Compose":
        """The same project with other files."""
        return Compose(self._directory, project=self._project, files=files, password=self._password)

    def with_password(self, password: str | None) -> "Compose":
        """The same project with another password."""
        other = Compose(self._directory, project=self._project, files=self._files)
        other._password = password or ""
        return other

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a Compose command; its output is kept."""
        files = [part for file in self._files for part in ("-f", file)]
        return subprocess.Popen(
            [*_compose(), "-p", self._project, *files, *arguments],
            cwd=self._directory,
            env=os.environ | {"POSTGRES_PASSWORD": self._password},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, check: bool = True) -> str:
        """What a Compose command prints; it must succeed unless `check` is False."""
        with self.start(*arguments) as command:
            output, _ = command.communicate()
        assert not check or command.returncode == 0, output
        return output

    def docker(self, *arguments: str) -> str:
        """What a command of the engine prints; it must succeed."""
        done = subprocess.run(
            ["docker", *arguments],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers, running or not."""
        return self.docker(
            *("ps", "--all", "--quiet", "--no-trunc"),
            *("--filter", f"label=com.docker.compose.project={self._project}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
            *("--filter", "label=com.docker.compose.oneoff=False"),
        ).split()

    def container(self, service: str) -> str:
        """The id of a service's only container."""
        (container,) = self.containers(service)
        return container

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        (told,) = json.loads(self.docker("inspect", container))
        return dict(told)

    def pid(self, service: str) -> int:
        """The first process of a service's container, as this machine numbers it."""
        return int(self.inspect(self.container(service))["State"]["Pid"])

    def restarts(self, service: str) -> int:
        """How often the engine has started a service's container anew by itself."""
        return int(self.inspect(self.container(service))["RestartCount"])

    def get_json(self, path: str) -> Any:
        """An answer of what listens on port 8080 of this machine."""
        with urlopen(_URL + path, timeout=10) as response:
            return json.load(response)

    def until_ready(self) -> None:
        """Return once publishes are taken."""
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                assert self.get_json("/ready") == {"status": "ready"}
            except OSError as error:
                if isinstance(error, HTTPError):
                    error.close()
                assert time.monotonic() < deadline, self.run("logs", "--tail", "50", check=False)
                time.sleep(0.2)
            else:
                return


def _compose() -> list[str]:
    """Compose as a plugin of the engine's client, or the command before that."""
    if not shutil.which("docker"):
        raise AssertionError("this needs a Docker engine and Docker Compose on this machine")
    plugin = subprocess.run(["docker", "compose", "version"], check=False, capture_output=True)
    return ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]

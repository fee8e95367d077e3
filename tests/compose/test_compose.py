"""The Compose set-up run for real, by a Docker engine: `tox -e compose`.

It wants port 8080 for itself, and the images that the files name, pulled or made beforehand.
"""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.docker import Compose

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
COUNTS = ("received", "unique_processed", "duplicate_dropped", "conflicts")


@pytest.fixture
def compose() -> Iterator[Compose]:
    compose = Compose(ROOT, project=f"compose-test-{os.getpid()}")
    yield compose
    compose.run("down", "--volumes", "--remove-orphans", check=False)


def counts(compose: Compose) -> dict[str, Any]:
    stats = compose.get_json("/stats")
    return {name: stats[name] for name in COUNTS}


def load(compose: Compose, *arguments: str) -> list[str]:
    """The command line of a load within the network between the services."""
    return ["run", "--rm", "-T", "publisher", "load", "--url", "http://aggregator:8080", *arguments]


def test_it_keeps_and_counts_every_event_through_kill_down_and_up(compose: Compose) -> None:
    compose.run("up", "-d", "--build")
    compose.until_ready()
    demonstration = compose.container("publisher")
    assert compose.docker("wait", demonstration).strip() == "0", compose.docker(
        "logs", demonstration
    )
    assert counts(compose) == {
        "received": 20_000, "unique_processed": 13_000, "duplicate_dropped": 7_000, "conflicts": 0,
    }  # fmt: skip

    check_isolation(compose)
    check_sigterm_drains(compose)

    killed = kill_under_load(compose, "--events", "60000", "--conflicts", "0.02")
    compose.until_ready()
    assert compose.restarts("aggregator") == killed
    after = counts(compose)
    # What was sent again because its answer was lost is counted again.
    assert after["unique_processed"] == 13_000 + round(60_000 * 0.68)
    assert after["received"] >= 80_000
    assert after["received"] == after["unique_processed"] + after["duplicate_dropped"]

    dumped = compose.run("exec", "-T", "storage", "pg_dump", "-U", "aggregator", "aggregator")
    assert dumped.count("\norders\t") > 18_000

    compose.run("down")
    compose.run("up", "-d", "storage", "aggregator")
    compose.until_ready()
    assert counts(compose) == after
    verified = compose.run("exec", "-T", "aggregator", "python", "-m", "aggregator", "verify")
    print(after, verified, sep="\n")  # noqa: T201


def test_three_aggregators_behind_a_proxy_share_the_work(compose: Compose) -> None:
    scaled = compose.with_files("docker-compose.yml", "docker-compose.scale.yml")
    up = ("up", "-d", "--build", "--scale", "aggregator=3", "storage", "aggregator", "proxy")
    scaled.run(*up)
    scaled.until_ready()
    sent = scaled.run(
        "run", "--rm", "-T", "publisher",
        "load", "--url", "http://proxy:8080", "--events", "30000", "--duplicates", "0.3",
    )  # fmt: skip
    assert "every verdict is the one planned" in sent
    assert counts(scaled) == {
        "received": 30_000, "unique_processed": 21_000, "duplicate_dropped": 9_000, "conflicts": 0,
    }  # fmt: skip
    aggregators = scaled.containers("aggregator")
    assert len(aggregators) == 3
    for aggregator in aggregators:
        assert scaled.docker("logs", aggregator).count('"path":"/publish"') > 10
    print(counts(scaled))  # noqa: T201


def test_the_load_of_k6_holds(compose: Compose) -> None:
    compose.run("up", "-d", "--build", "storage", "aggregator")
    compose.until_ready()
    told = compose.run("--profile", "load", "run", "--rm", "-T", "k6")
    assert "publish_duration" in told
    assert counts(compose) == {
        "received": 20_000, "unique_processed": 14_000, "duplicate_dropped": 6_000, "conflicts": 0,
    }  # fmt: skip


def test_without_a_password_it_says_what_to_do(compose: Compose) -> None:
    refused = compose.with_password(None).run("config", check=False)
    assert "put POSTGRES_PASSWORD=... into the file .env" in refused


def kill_under_load(compose: Compose, *arguments: str) -> int:
    """Kill the aggregator a few times while a load goes on, which must hold; how often."""
    begun = counts(compose)["received"]
    killed = 0
    with compose.start(*load(compose, *arguments)) as loading:
        while loading.poll() is None:
            now = counts_or_none(compose)
            if now and killed < 3 and now["received"] > begun + 5_000 + 15_000 * killed:
                os.kill(compose.pid("aggregator"), signal.SIGKILL)
                killed += 1
            time.sleep(0.05)
        told, _ = loading.communicate()
    assert loading.returncode == 0, told
    assert killed >= 2
    print(told)  # noqa: T201
    return killed


def counts_or_none(compose: Compose) -> dict[str, Any] | None:
    try:
        return counts(compose)
    except OSError:
        return None  # killed just now


def check_isolation(compose: Compose) -> None:
    for service in ("storage", "aggregator"):
        container = compose.container(service)
        told = compose.inspect(container)
        assert told["HostConfig"]["ReadonlyRootfs"] is True
        assert told["HostConfig"]["Privileged"] is False
        status = Path(f"/proc/{told['State']['Pid']}/status").read_text()
        uids = set(re.findall(r"^Uid:\s+(.*)$", status, re.MULTILINE)[0].split())
        assert "0" not in uids, f"{service} runs as root"
        for capabilities in ("CapEff", "CapPrm", "CapBnd"):
            assert re.search(rf"^{capabilities}:\s+0+$", status, re.MULTILINE), service
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE), service
    published = {
        service: compose.docker("port", compose.container(service)).split()
        for service in ("storage", "aggregator")
    }
    assert published["storage"] == []
    assert {each for each in published["aggregator"] if "->" not in each} <= {
        "8080/tcp", "0.0.0.0:8080", "[::]:8080", ":::8080",
    }  # fmt: skip
    with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", 5432), 5):
        pass
    # Out of the network between the services there is no way.
    unreachable = compose.run(
        "exec", "-T", "storage", "bash", "-c",
        "timeout 3 bash -c 'exec 3<>/dev/tcp/192.0.2.1/80' && echo out || echo kept in",
    )  # fmt: skip
    assert unreachable.split() == ["kept", "in"]


def check_sigterm_drains(compose: Compose) -> None:
    compose.run("stop", "aggregator")
    container = compose.container("aggregator")
    assert compose.inspect(container)["State"]["ExitCode"] == 0
    assert '"event":"stopped"' in compose.docker("logs", container)
    compose.run("start", "aggregator")
    compose.until_ready()

"""Real programs rotate their logs while these are shipped, and while the shipper is away."""

import asyncio
import itertools
import logging.handlers
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp
import pytest
from support.load import session
from support.own_postgres import own_postgres
from support.processes import Aggregator
from support.rotated_logs import (
    Cri,
    JsonFile,
    Log,
    Logrotate,
    Nginx,
    PostgresLog,
    PythonLog,
    Rotated,
)
from support.ship_process import ShipProcess, ShipProcesses, closing_all

Run = Callable[..., Aggregator]

FEW, MANY = 60, 1_500


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with session() as client:
        yield client


@pytest.fixture
def url(run_aggregator: Run, tmp_path: Path) -> str:
    database = tmp_path / "events.db"
    return run_aggregator("--backend", "sqlite", "--database", str(database)).url


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    directory = tmp_path / "logs"
    directory.mkdir(mode=0o755)
    return directory


async def rotate_in_every_state(shippers: ShipProcesses, *logs: Log) -> None:
    """Rotate logs while they are followed, while nobody does, and when the shippers are killed."""

    def write(lines: int) -> None:
        for log in logs:
            log.write(lines)

    def rotate() -> None:
        for log in logs:
            log.rotate()

    async def until_stored() -> None:
        await shippers.until_stored(sum(len(log.written) for log in logs))

    write(FEW)
    await shippers.start()
    await until_stored()
    for lines in (FEW, 1):
        write(lines)
        rotate()
        write(lines)
        # What has come and gone before anybody has looked is nowhere under the name.
        await until_stored()
    await shippers.stop()
    write(FEW)
    rotate()
    write(FEW)
    await shippers.start()
    await until_stored()
    write(MANY // len(logs))
    await shippers.kill_under_way()
    write(FEW)
    rotate()
    write(1)
    await shippers.start()
    await until_stored()
    await shippers.stop()
    await shippers.check(*(log.written for log in logs))


DATED = ["dateext", "dateformat -%Y%m%d-%H%M%S"]
LOGROTATE = {
    "create": ["create"],
    "olddir": ["create", "olddir old", "createolddir 755"],
    "dateext": ["create", *DATED],
    "compress": ["create", "compress"],
    "delaycompress": ["create", "compress", "delaycompress"],
    "compressed_with_date": ["create", "compress", "delaycompress", *DATED],
    "copytruncate": ["copytruncate"],
    "copytruncate_compress": ["copytruncate", "compress"],
    "copytruncate_delaycompress": ["copytruncate", "compress", "delaycompress"],
    "copytruncate_olddir": ["copytruncate", "olddir old", "createolddir 755"],
}


@contextmanager
def rotated_by_logrotate(logs: Path, configurations: Path) -> Iterator[list[Rotated]]:
    """A log for each way in which logrotate rotates, in a directory of its own."""
    with ExitStack() as stack:
        rotated: list[Rotated] = []
        for name, directives in LOGROTATE.items():
            path = logs / name / "app.log"
            path.parent.mkdir(mode=0o755)
            # What is written to a file that gzip has removed is gone for everybody.
            late = 0 if directives == ["create", "compress"] else 3
            log = Rotated(
                path,
                Logrotate(path, configurations / name, directives),
                None if "copytruncate" in directives else late,
            )
            stack.callback(log.close)
            rotated.append(log)
        yield rotated


async def test_logs_that_logrotate_rotates_are_stored_once(
    client: aiohttp.ClientSession, url: str, logs: Path, tmp_path: Path
) -> None:
    with rotated_by_logrotate(logs, tmp_path / "logrotate") as rotated:
        async with closing_all(
            ShipProcess(client, url, tmp_path, "paths", *(log.path for log in rotated)),
            # It matches whatever becomes of the logs.
            ShipProcess(client, url, tmp_path, "pattern", f"{logs}/**/app.log*"),
        ) as shippers:
            await rotate_in_every_state(shippers, *rotated)


def rotated_by_glog(link: Path) -> Rotated:
    """An imitation: a new file under a new name, then the link to it."""
    numbers = itertools.count()

    def rotate() -> None:
        link.unlink(missing_ok=True)
        link.symlink_to(f"app.log.INFO.20260301-{next(numbers):06}.4711")

    link.parent.mkdir()
    rotate()
    return Rotated(link, rotate, late=3)


async def test_logs_that_programs_rotate_themselves_are_stored_once(
    client: aiohttp.ClientSession, url: str, logs: Path, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        rotated: list[PythonLog | Rotated] = [
            PythonLog("size", logs / "size" / "app.log"),
            PythonLog("time", logs / "time" / "app.log"),
            rotated_by_glog(logs / "glog" / "app.INFO"),
        ]
        for log in rotated:
            stack.callback(log.close)
        async with closing_all(
            ShipProcess(client, url, tmp_path, "paths", *(log.path for log in rotated)),
            ShipProcess(client, url, tmp_path, "pattern", f"{logs}/*/app.*"),
        ) as shippers:
            await rotate_in_every_state(shippers, *rotated)


async def test_log_that_rotates_by_its_size_all_the_time_is_stored_once(
    client: aiohttp.ClientSession, url: str, logs: Path, tmp_path: Path
) -> None:
    # Each file has some thirty lines, and is renamed by everyone that follows.
    logger = logging.getLogger("all the time")
    logger.propagate = False
    handler = logging.handlers.RotatingFileHandler(logs / "app.log", maxBytes=300, backupCount=400)
    logger.addHandler(handler)
    written: list[bytes] = []

    def write(lines: int) -> None:
        for _ in range(lines):
            logger.error("line %d", len(written))
            written.append(b"line %d\n" % len(written))

    async with closing_all(
        ShipProcess(client, url, tmp_path, "pattern", logs / "app.log*")
    ) as shippers:
        await shippers.start()
        write(400)
        await shippers.until_stored(1)
        write(400)
        await shippers.until_stored(len(written))
        await shippers.stop()
        write(400)
        await shippers.start()
        await shippers.kill_under_way()
        write(400)
        await shippers.start()
        await shippers.until_stored(len(written))
        await shippers.stop()
        await shippers.check(written)
    logger.removeHandler(handler)
    handler.close()


async def test_access_log_of_nginx_is_stored_once(
    client: aiohttp.ClientSession, url: str, logs: Path, tmp_path: Path
) -> None:
    nginx = Nginx(logs / "access.log", tmp_path / "nginx")
    combined = ("--format", "combined")
    try:
        async with closing_all(
            NginxShipper(client, url, tmp_path, "path", nginx.path, *combined),
            NginxShipper(client, url, tmp_path, "pattern", logs / "access.log*", *combined),
        ) as shippers:
            await rotate_in_every_state(shippers, nginx)
    finally:
        nginx.close()


class NginxShipper(ShipProcess):
    """Ships access logs, whose requests are told by their path."""

    async def contents(self) -> dict[str, list[bytes]]:
        contents: dict[str, list[bytes]] = {}
        for event in await self.events():
            assert event["payload"]["status"] == 200
            lines = contents.setdefault(event["event_id"].split("-")[0], [])
            lines.append(event["payload"]["path"].encode())
        return contents


class PostgresShipper(ShipProcess):
    """Ships the files of Postgres, some of whose lines are alike."""

    async def check(self, *logs: Sequence[bytes]) -> None:
        contents = [b"".join(lines) for lines in (await self.contents()).values()]
        # They begin with times.
        assert b"".join(sorted(contents)).splitlines(keepends=True) == logs[0]
        assert self.said() == []


async def test_files_of_the_collector_of_postgres_are_stored_once(
    client: aiohttp.ClientSession, url: str, tmp_path: Path
) -> None:
    with own_postgres() as server:
        server.start()
        log = PostgresLog(server)
        async with closing_all(
            PostgresShipper(client, url, tmp_path, "pattern", log.directory / "postgresql-*.log"),
        ) as shippers:
            await rotate_in_every_state(shippers, log)


class ContainerShipper(ShipProcess):
    """Ships logs of containers."""

    async def contents(self) -> dict[str, list[bytes]]:
        contents: dict[str, list[bytes]] = {}
        for event in await self.events():
            assert event["payload"]["stream"] == "stdout"
            lines = contents.setdefault(event["event_id"].split("-")[0], [])
            lines.append(event["payload"]["line"].encode())
        return contents


def rotated_by_kubelet(log: Path) -> Cri:
    """An imitation: older ones are compressed, then the log is renamed."""
    numbers = itertools.count()

    def rotate() -> None:
        for older in log.parent.glob("0.log.*"):
            if older.suffix != ".gz":
                compressed = older.with_name(f"{older.name}.tmp")
                with compressed.open("wb") as file:
                    subprocess.run(["gzip", "-c", older], stdout=file, check=True)
                compressed.rename(older.with_name(f"{older.name}.gz"))
                older.unlink()
        log.rename(log.with_name(f"0.log.20260301-{next(numbers):06}"))

    return Cri(log, rotate, late=3)


def rotated_by_docker(log: Path) -> JsonFile:
    """An imitation: the numbers move."""

    def rotate() -> None:
        for number in reversed(range(9)):
            older = log.with_name(f"{log.name}.{number}") if number else log
            if older.exists():
                older.rename(log.with_name(f"{log.name}.{number + 1}"))

    return JsonFile(log, rotate, late=0)


async def test_logs_rotated_as_kubelet_and_docker_do_are_stored_once(
    client: aiohttp.ClientSession, url: str, logs: Path, tmp_path: Path
) -> None:
    pod, container = logs / "pods" / "shop" / "0.log", logs / "c0ffee" / "c0ffee-json.log"
    link = logs / "containers" / "shop.log"
    for path in (pod, container, link):
        path.parent.mkdir(parents=True)
    link.symlink_to(pod)
    rotated = [rotated_by_kubelet(pod), rotated_by_docker(container)]
    names = [link.with_name("*.log"), container], [f"{logs}/**/*.log*"]
    async with closing_all(
        ContainerShipper(client, url, tmp_path, "links", *names[0], "--format", "auto"),
        ContainerShipper(client, url, tmp_path, "pattern", *names[1], "--format", "auto"),
    ) as shippers:
        await rotate_in_every_state(shippers, *rotated)
    for log in rotated:
        log.close()


async def test_log_moved_out_of_sight_meanwhile_is_said_to_be_lost_where_no_name_leads_to_it(
    client: aiohttp.ClientSession, url: str, logs: Path, tmp_path: Path
) -> None:
    path = logs / "app" / "app.log"
    path.parent.mkdir()
    directives = ["create", "olddir ../archive", "createolddir 755"]
    rotated = Rotated(path, Logrotate(path, tmp_path / "logrotate", directives), late=3)
    named = ShipProcess(client, url, tmp_path, "path", path)
    found = ShipProcess(client, url, tmp_path, "pattern", f"{logs}/*/app.log*")
    async with closing_all(named, found) as shippers:
        rotated.write(FEW)
        await shippers.start()
        await shippers.until_stored(FEW)
        sent_bytes = path.stat().st_size
        await shippers.stop()
        rotated.write(FEW)
        rotated.rotate()
        rotated.write(FEW)
        await shippers.start()
        await found.until_stored(len(rotated.written))
        await named.until_stored(FEW + FEW)
        await shippers.stop()
        await found.check(rotated.written)
        stored = [line for lines in (await named.contents()).values() for line in lines]
        assert stored == rotated.written[:FEW] + rotated.written[-FEW:]
        (said,) = named.said()
        assert f"the file that was '{path}' is not found" in said
        assert f"behind byte {sent_bytes:,}," in said
    rotated.close()


async def test_quiet_time_ends_what_was_renamed_compressed_deleted_and_copied(
    client: aiohttp.ClientSession, url: str, logs: Path, tmp_path: Path
) -> None:
    names = ["compressed", "copied", "deleted", "renamed"]
    for name in names:
        path = logs / name / "app.log"
        path.parent.mkdir()
        path.write_bytes(b"%b first\n%b unfinished" % (name.encode(), name.encode()))
    shipper = ShipProcess(client, url, tmp_path, "pattern", f"{logs}/*/app.log*")
    async with closing_all(shipper):
        await shipper.start()
        await shipper.until_stored(len(names))
        command = await asyncio.create_subprocess_shell(
            "gzip compressed/app.log && cp copied/app.log copied/app.log.bak && "
            "rm deleted/app.log && mv renamed/app.log renamed/app.log.1",
            cwd=logs,
        )
        assert await command.wait() == 0
        # Three last lines without newline, and the first line of the copy once more.
        await shipper.until_stored(len(names) + 3 + 1)
        # By now a look has told what is in the compressed file.
        (logs / "renamed" / "app.log").write_bytes(b"another\n")
        await shipper.until_stored(len(names) + 3 + 1 + 1)
        await shipper.stop()
        assert sorted(itertools.chain.from_iterable((await shipper.contents()).values())) == sorted(
            [
                *(b"%b first\n" % name.encode() for name in names),
                *(b"%b unfinished" % name.encode() for name in names if name != "copied"),
                b"copied first\n",
                b"another\n",
            ]
        )
        assert shipper.said() == []

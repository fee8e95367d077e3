"""Certificates that are replaced while the process serves: nobody is refused, nobody cut off."""

import asyncio
import itertools
import os
import signal
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.load import until
from support.processes import Aggregator
from support.sluggish import connections, get, read_answer
from support.tls import Authority, Pair

Run = Callable[..., Aggregator]
Replace = Callable[[Path, Pair], None]
HEALTH = get("/health")


def start(run_aggregator: Run, authority: Authority, files: Pair, *options: str) -> Aggregator:
    aggregator = run_aggregator(*files.options(), *options)
    aggregator.trusting = authority.trusting()
    return aggregator


def by_rename(live: Path, new: Pair) -> None:
    """As most tools do it: one file after the other, each at once."""
    new.cert.rename(live / "tls.crt")
    new.key.rename(live / "tls.key")


def in_place(live: Path, new: Pair) -> None:
    """The key in two halves, and before its certificate."""
    key = new.key.read_bytes()
    with (live / "tls.key").open("wb", buffering=0) as file:
        file.write(key[: len(key) // 2])
        file.write(key[len(key) // 2 :])
    (live / "tls.crt").write_bytes(new.cert.read_bytes())


def by_link(live: Path, new: Pair) -> None:
    """As Kubernetes does it: the files are links through a link, which is turned."""
    turned = live / "..data_tmp"
    turned.symlink_to(new.cert.parent)
    turned.rename(live / "..data")


def ask(url: str, context: ssl.SSLContext) -> str:
    """Ask on a connection of its own; gives the serial number of the certificate."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    with (
        socket.create_connection((parts.hostname, parts.port or 0), 30) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as connection,
    ):
        connection.sendall(HEALTH)
        assert read_answer(connection)[0] == 200
        certificate = connection.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


async def serial_in_force(aggregator: Aggregator) -> str:
    assert aggregator.trusting is not None
    return await asyncio.to_thread(ask, aggregator.url, aggregator.trusting)


async def until_told(aggregator: Aggregator, event: str, lines: int) -> None:
    """Wait for so many lines, of all that were ever written."""

    def told() -> bool:
        return len(aggregator.log_lines(event)) >= lines

    async with asyncio.timeout(30):
        while not await asyncio.to_thread(told):
            pass


@pytest.mark.parametrize("replace", [by_rename, in_place, by_link])
async def test_rotations_under_load_refuse_no_request(
    run_aggregator: Run, tmp_path: Path, replace: Replace
) -> None:
    authority, live = Authority(), tmp_path / "live"
    first = authority.pair(tmp_path / "0", "127.0.0.1")
    live.mkdir()
    files = Pair(live / "tls.crt", live / "tls.key")
    if replace is by_link:
        (live / "..data").symlink_to(first.cert.parent)
        for each in files:
            each.symlink_to(Path("..data") / each.name)
    else:
        for old, new in zip(first, files, strict=True):
            old.rename(new)
    aggregator = start(run_aggregator, authority, files)
    trusting = authority.trusting()
    seen: list[str] = []
    over = asyncio.Event()

    async def ask_on() -> None:
        while not over.is_set():
            # One that was refused would end the test.
            serial = await asyncio.to_thread(ask, aggregator.url, trusting)
            if not seen or seen[-1] != serial:
                seen.append(serial)

    def seen_more_than(number: int) -> bool:
        return len(set(seen)) > number

    async with asyncio.TaskGroup() as asking:
        for _ in range(4):
            asking.create_task(ask_on())
        for number in range(1, 4):
            replace(live, authority.pair(tmp_path / str(number), "127.0.0.1"))
            await until(partial(seen_more_than, number))
        over.set()
    assert len(set(seen)) == 4
    await until_told(aggregator, "tls_in_force", 4)
    assert len(aggregator.log_lines("tls_in_force")) == 4
    assert not aggregator.log_lines("tls_refused")
    assert not aggregator.log_lines("tls_failed")


async def test_a_connection_that_is_open_is_served_on_when_certificates_change(
    run_aggregator: Run, tmp_path: Path
) -> None:
    authority = Authority()
    files = authority.pair(tmp_path / "live", "127.0.0.1")
    aggregator = start(run_aggregator, authority, files)
    with connections(aggregator) as clients:
        kept = clients.open(HEALTH)
        assert read_answer(kept)[0] == 200
        before = await serial_in_force(aggregator)
        by_rename(tmp_path / "live", authority.pair(tmp_path / "new", "127.0.0.1"))
        await until_told(aggregator, "tls_in_force", 2)
        assert await serial_in_force(aggregator) != before
        kept.sendall(HEALTH)
        assert read_answer(kept)[0] == 200


async def test_at_the_signal_files_are_read_at_once_and_told_of_if_they_are_broken(
    run_aggregator: Run, tmp_path: Path
) -> None:
    authority = Authority()
    files = authority.pair(tmp_path / "live", "127.0.0.1")
    aggregator = start(run_aggregator, authority, files)
    before = await serial_in_force(aggregator)
    whole = files.cert.read_bytes()

    files.cert.write_bytes(whole[:-100])
    aggregator.process.send_signal(signal.SIGHUP)
    await until_told(aggregator, "tls_refused", 1)
    for _ in range(3):
        aggregator.process.send_signal(signal.SIGHUP)
        assert await serial_in_force(aggregator) == before
    os.utime(files.cert)
    # Another broken content is another line.
    files.cert.unlink()
    await until_told(aggregator, "tls_refused", 2)
    assert [line["reason"] for line in aggregator.log_lines("tls_refused")] == [
        f"--tls-cert: a certificate in '{files.cert}' is broken or cut short",
        f"--tls-cert: can't read '{files.cert}': No such file or directory",
    ]
    assert await serial_in_force(aggregator) == before

    by_rename(files.cert.parent, authority.pair(tmp_path / "new", "127.0.0.1"))
    await until_told(aggregator, "tls_in_force", 2)
    assert await serial_in_force(aggregator) != before
    told = aggregator.log_lines("tls_in_force") + aggregator.log_lines("tls_refused")
    first, _, *refused = [line.get("in_force") or line["certificate_sha256"] for line in told]
    assert refused == [first, first]


async def test_a_pair_of_which_one_half_has_come_leaves_the_old_one_in_force(
    run_aggregator: Run, tmp_path: Path
) -> None:
    authority = Authority()
    files = authority.pair(tmp_path / "live", "127.0.0.1")
    aggregator = start(run_aggregator, authority, files)
    before = await serial_in_force(aggregator)
    new = authority.pair(tmp_path / "new", "127.0.0.1")
    new.cert.rename(files.cert)
    await until_told(aggregator, "tls_refused", 1)
    assert await serial_in_force(aggregator) == before
    (line,) = aggregator.log_lines("tls_refused")
    assert line["reason"] == (
        f"--tls-key: the key in '{files.key}' is not that of the certificate in '{files.cert}'"
    )
    new.key.rename(files.key)
    await until_told(aggregator, "tls_in_force", 2)
    assert await serial_in_force(aggregator) != before


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_authority_that_is_removed_lets_no_new_connection_in(
    run_aggregator: Run, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority, leaving, staying = Authority(), Authority(), Authority()
    files = authority.pair(tmp_path / "live", "127.0.0.1")
    authorities = tmp_path / "clients.pem"
    both = [each.write(tmp_path / "one.pem").read_bytes() for each in (leaving, staying)]
    authorities.write_bytes(b"".join(both))
    aggregator = start(
        run_aggregator, authority, files,
        "--tls-client-ca", str(authorities), "--tls-client-required", "on",
    )  # fmt: skip
    contexts = []
    for number, each in enumerate((leaving, staying)):
        pair = each.pair(tmp_path / f"client-{number}", "shop.example")
        contexts.append(authority.client(pair))
        contexts[-1].maximum_version = version
    aggregator.trusting = contexts[0]
    with connections(aggregator) as clients:
        kept = clients.open(HEALTH)
        assert read_answer(kept)[0] == 200
        aggregator.trusting = contexts[1]
        authorities.write_bytes(both[1])
        aggregator.process.send_signal(signal.SIGHUP)
        await until_told(aggregator, "tls_in_force", 2)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(ask, aggregator.url, contexts[0])
        await asyncio.to_thread(ask, aggregator.url, contexts[1])
        kept.sendall(HEALTH)
        assert read_answer(kept)[0] == 200
    (line,) = aggregator.log_lines("tls_failed")
    assert line["reason"].startswith("the client's certificate does not verify: ")


def test_the_signal_does_nothing_where_there_is_nothing_to_read(run_aggregator: Run) -> None:
    aggregator = run_aggregator()
    for _ in itertools.repeat(None, 3):
        aggregator.process.send_signal(signal.SIGHUP)
    events = [line["event"] for line in aggregator.log_lines()]
    assert events == ["storage_available", "listening"]
    assert aggregator.stop() == 0

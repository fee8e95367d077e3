"""What is read again is taken when it is whole, and a look that fails ends nothing."""

import os
import signal
from pathlib import Path

import pytest
import structlog.testing
from support.load import until
from support.tls import Authority, Pair

from aggregator.server.reloads import Reloads
from aggregator.server.tls.files import FilesChanging, TlsFiles
from aggregator.server.tls.live import LiveContext


def files_of(pair: Pair) -> TlsFiles:
    return TlsFiles(cert=pair.cert, key=pair.key, client_ca=None, client_required=False)


def put(new: Pair, live: Pair) -> None:
    """Put a pair in the place of another."""
    for source, target in zip(new, live, strict=True):
        source.rename(target)


async def test_what_has_changed_is_taken_when_two_looks_have_found_the_same(
    tmp_path: Path,
) -> None:
    authority = Authority()
    pair = authority.pair(tmp_path / "live", "127.0.0.1")
    live = LiveContext(files_of(pair))
    before = live.context
    await live.look(at_once=False)
    assert live.context is before
    with structlog.testing.capture_logs() as lines:
        # Half of a pair at the first look, all of it at the second.
        new = authority.pair(tmp_path / "new", "127.0.0.1")
        new.cert.rename(pair.cert)
        await live.look(at_once=False)
        new.key.rename(pair.key)
        await live.look(at_once=False)
        assert live.context is before
        assert lines == []
        await live.look(at_once=False)
    assert live.context is not before
    assert [line["event"] for line in lines] == ["tls_in_force"]


async def test_at_somebodys_word_what_has_changed_is_taken_at_once(tmp_path: Path) -> None:
    authority = Authority()
    pair = authority.pair(tmp_path / "live", "127.0.0.1")
    live = LiveContext(files_of(pair))
    before = live.context
    put(authority.pair(tmp_path / "new", "127.0.0.1"), pair)
    await live.look(at_once=True)
    assert live.context is not before


async def test_a_broken_content_is_told_of_once_and_what_was_before_is_taken_again(
    tmp_path: Path,
) -> None:
    pair = Authority().pair(tmp_path / "live", "127.0.0.1")
    live = LiveContext(files_of(pair))
    whole = pair.key.read_bytes()
    with structlog.testing.capture_logs() as lines:
        for content in (b"", b"", whole, b"none", b"none"):
            pair.key.write_bytes(content)
            await live.look(at_once=True)
    told = [line["event"] for line in lines]
    assert told == ["tls_refused", "tls_in_force", "tls_refused"]


def test_files_that_change_while_they_are_loaded_are_not_taken_for_what_was_read(
    tmp_path: Path,
) -> None:
    authority = Authority()
    pair = authority.pair(tmp_path / "live", "127.0.0.1")
    files = files_of(pair)
    read = files.read()
    put(authority.pair(tmp_path / "new", "127.0.0.1"), pair)
    with pytest.raises(FilesChanging):
        files.load(read)


async def test_a_look_that_fails_keeps_no_other_from_being_made() -> None:
    made: list[bool] = []

    async def fail(*, at_once: bool) -> None:
        raise RuntimeError("a mistake")

    async def look(*, at_once: bool) -> None:
        made.append(at_once)

    former = signal.getsignal(signal.SIGHUP)
    reloads = Reloads()
    reloads.add(fail)
    reloads.add(look)
    with structlog.testing.capture_logs() as lines:
        reloads.start()
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: bool(made))
        finally:
            await reloads.aclose()
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            signal.signal(signal.SIGHUP, former)
    assert made == [True]
    assert [line["event"] for line in lines] == ["reload_failed"]

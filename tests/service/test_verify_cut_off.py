"""`verify` whose database goes away at any point of its run: one sentence, exit status 2."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import cast

import pytest
from service.conftest import OwnDatabase
from support.backends import Database
from support.postgres_proxy import PostgresProxy, Way, postgres_proxy
from support.verifying import ORDERS, SHIPMENTS, SOUND, Verified, fill

from aggregator.__main__ import main

Proxied = tuple[PostgresProxy, str]
"""What verify is cut off by, and the DSN that leads through it."""


def run(dsn: str) -> Verified:
    """Run `verify` in this process, whatever comes of it."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code: object = main(["verify", "--dsn", dsn])
        except SystemExit as end:
            code = end.code
    return Verified(cast("int", code), out.getvalue(), err.getvalue())


@pytest.fixture
async def proxied(
    own_database: OwnDatabase, tmp_path: Path
) -> AsyncIterator[tuple[PostgresProxy, str]]:
    direct = Database("postgres", tmp_path, own_database.dsn)
    await asyncio.to_thread(fill, direct, ORDERS, SHIPMENTS)
    name = own_database.dsn.partition("?")[0].rpartition("/")[2]
    async with postgres_proxy(own_database.server) as (proxy, port):
        yield proxy, f"postgresql://postgres@127.0.0.1:{port}/{name}?sslmode=disable"


@pytest.mark.parametrize("way", Way)
async def test_cut_off_before_any_message_it_ends_with_one_sentence(
    proxied: Proxied, way: Way
) -> None:
    proxy, dsn = proxied
    cut: list[Verified] = []
    ended = await cut_off(proxy, dsn, way, 0)
    while proxy.cut_at is None:
        cut.append(ended)
        ended = await cut_off(proxy, dsn, way, len(cut))
    # There were not so many messages.
    whole = Verified(0, SOUND, "")
    assert ended == whole
    # What it had to say last was its farewell. How many messages come before it differs by a few,
    # with the statements that the driver closes when they are collected.
    last = len(cut) - 12
    cut = [each for number, each in enumerate(cut) if number < last or each != whole]
    assert len(cut) > 30
    for number, each in enumerate(cut):
        assert each.code == 2, (number, each)
        assert each.err.startswith("aggregator: Postgres"), (number, each)
        assert each.err.count("\n") == 1, (number, each)


async def cut_off(proxy: PostgresProxy, dsn: str, way: Way, number: int) -> Verified:
    """How it ends when so many messages of one way have been passed on, and no more."""
    proxy.restore()
    proxy.cut_at = (way, number)
    return await asyncio.to_thread(run, dsn)

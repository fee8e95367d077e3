"""Whatever is asked of a subscription, a double answers as a real aggregator does."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from support import double_random
from support.backends import Database
from support.double_clock import LeaseClock
from support.double_random import Pair
from support.double_targets import DoubleTarget, RealTarget
from support.http import Client
from support.served import Served

from aggregator.app import create_app
from aggregator.settings.model import Settings


async def serve(database: Database) -> Client:
    """An aggregator that writes in this process."""
    store = database.in_process_store()
    await store.open()
    client: Client = TestClient(
        Served(create_app(Settings.from_values(database.settings()), store))
    )
    await client.server.start_server(auto_decompress=False)
    await client.start_server()
    return client


@pytest.mark.timeout(1200)
def test_double_and_aggregator_answer_alike(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefixes = (f"r{number}." for number in itertools.count())
    let_pass = LeaseClock(monkeypatch).let_pass
    with asyncio.Runner() as runner:
        client = runner.run(serve(database))

        @settings(max_examples=max(1, settings().max_examples // 5))
        @given(double_random.settings, st.lists(double_random.steps, min_size=10, max_size=25))
        def holds(made: dict[str, Any], steps: Sequence[tuple[str, Any]]) -> None:
            pair = Pair([RealTarget(client, let_pass), DoubleTarget()], next(prefixes))
            runner.run(pair.run(made, steps))

        try:
            holds()
        finally:
            runner.run(client.close())

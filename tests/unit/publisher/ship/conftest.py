"""What tests of shipping share: a server, and the checks that nothing is left behind."""

import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.scripted import Scripted, serving


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    """A server in an aggregator's place, for faults that can't be made for real."""
    async with serving() as scripted:
        yield scripted


@pytest.fixture
def no_descriptor_is_left() -> Iterator[None]:
    """Fails the test if it leaves a descriptor open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.fixture
def nothing_is_left_to_asyncio(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails the test if asyncio has to complain of a future or task that nobody looked after."""
    yield
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []

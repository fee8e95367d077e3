"""The scene of every race."""

from collections.abc import AsyncIterator

import pytest
from support.backends import Database
from support.scene import Scene


@pytest.fixture
async def scene(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """Two stores on an empty database."""
    async with Scene.on(database, monkeypatch) as scene:
        yield scene

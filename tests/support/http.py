"""The application over HTTP, inside the test's event loop."""

from typing import Any, Protocol

from aiohttp.test_utils import TestClient

from storage.protocols import EventStore

Client = TestClient[Any, Any]


class MakeClient(Protocol):
    """Serves the application with changed settings, or with a store of the test's own."""

    async def __call__(self, store: EventStore | None = None, **changes: object) -> Client: ...

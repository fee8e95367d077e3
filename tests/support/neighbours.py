"""Two aggregators on one database, each with a store of its own, in one event loop."""

from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from aggregator import app
from aggregator.app import create_app
from aggregator.live.followers import Followers
from aggregator.settings.model import Settings
from support.backends import Database
from support.http import Client
from support.served import Served

AGGREGATORS = 2


class Neighbours:
    """Aggregators on one database, whose streams a test may end.

    Args:
        database: theirs.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._followers: list[Followers] = []
        self.clients: list[Client] = []

    async def start(self) -> None:
        """Start all of them."""
        for _ in range(AGGREGATORS):
            client, followers = await self._serve()
            self.clients.append(client)
            self._followers.append(followers)

    async def restart(self, number: int) -> None:
        """Have one drain and end, and start it anew; its streams must be read to their ends."""
        # Its answers end before their connections do.
        await self.clients[number].server.close()
        await self.clients[number].close()
        self.clients[number], self._followers[number] = await self._serve()

    def end_lives(self, number: int) -> None:
        """End the streams of one as their lifetimes do."""
        for follower in list(self._followers[number]._open):
            follower.on_end_of_life()

    def url(self, number: int) -> str:
        """The URL of one, without a slash at its end."""
        return str(self.clients[number].make_url("")).rstrip("/")

    async def aclose(self) -> None:
        """End all of them."""
        for client in self.clients:
            await client.close()

    async def _serve(self) -> tuple[Client, Followers]:
        made: list[Followers] = []

        def followers(**options: Any) -> Followers:
            made.append(Followers(**options))
            return made[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(app, "Followers", followers)
            configured = Settings.from_values(self._database.settings())
            served = Served(create_app(configured, self._database.in_process_store(readers=2)))
        client: Client = TestClient(served)
        await served.start_server(auto_decompress=False)
        await client.start_server()
        return client, made[0]

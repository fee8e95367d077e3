"""What the tests of the load generator share."""

from collections.abc import Sequence

import pytest
from unit.publisher.load.model import MakeScene, Scene

from publisher.load.plan import Shape


@pytest.fixture
def make_scene() -> MakeScene:
    """Makes a scene; what is not given is as here."""

    def make(
        *,
        heads: Sequence[int] = (7, 0, 3),
        events: int = 400,
        duplicates: int = 120,
        conflicts: int = 40,
        batch: int = 20,
        topics: int = 3,
        concurrency: int = 2,
    ) -> Scene:
        return Scene(Shape(events, duplicates, conflicts, batch, topics, concurrency, 1), heads)

    return make

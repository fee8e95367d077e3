"""Every test in this directory needs a program beyond Python, and is marked so."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.journals import journalctl, nothing_left

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is collected from here `programs`."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.programs)


@pytest.fixture
def journal(tmp_path: Path, processes: None) -> Iterator[Path]:
    """A directory for journals; fails the test if it leaves a process or a descriptor."""
    journalctl()
    directory = tmp_path / "journal"
    directory.mkdir()
    with nothing_left():
        yield directory
